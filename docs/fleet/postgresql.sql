-- The flows of many gateways in PostgreSQL 15 or later.
--
-- One row for each flow of each capture. A capture is known by its host and its start: a later list of the same
-- capture has the same rows, grown. So a list may be loaded again, late, or after a newer one.

CREATE TABLE IF NOT EXISTS flows (
    host            text        NOT NULL,
    capture_start   timestamptz NOT NULL,
    protocol        smallint    NOT NULL,
    src             inet        NOT NULL,
    src_port        integer,    -- 1024 stands for any of 1024 to 65535 where src_port_collapsed
    src_port_collapsed boolean,
    dst             inet        NOT NULL,
    dst_port        integer,
    icmp_type       smallint,
    icmp_code       smallint,
    zone            integer     NOT NULL,
    dnat            inet,
    dnat_port       integer,
    snat            inet,
    snat_port       integer,
    confirmed       boolean     NOT NULL,
    connections     bigint      NOT NULL,
    first_seen      timestamptz,
    last_seen       timestamptz,
    UNIQUE NULLS NOT DISTINCT (host, capture_start, protocol, src, src_port, src_port_collapsed, dst, dst_port,
                               icmp_type, icmp_code, zone, dnat, dnat_port, snat, snat_port)
);

-- What `conntracker merge` makes of captures that don't overlap on a host.
CREATE OR REPLACE VIEW merged_flows AS
SELECT protocol, src, src_port, src_port_collapsed, dst, dst_port, icmp_type, icmp_code, zone,
       dnat, dnat_port, snat, snat_port,
       bool_or(confirmed) AS confirmed, sum(connections)::bigint AS connections,
       min(first_seen) AS first_seen, max(last_seen) AS last_seen, array_agg(DISTINCT host) AS hosts
FROM flows
GROUP BY protocol, src, src_port, src_port_collapsed, dst, dst_port, icmp_type, icmp_code, zone,
         dnat, dnat_port, snat, snat_port;
