-- The flows of many gateways in ClickHouse.
--
-- One row for each flow of each capture, which rows that are loaded again melt into: the engine keeps the minimum,
-- the maximum and the maximum, so that retries and reordering are harmless. A capture is known by its host and its
-- start. What a flow has not is 0 or empty; -1 stands for a missing port or type.

CREATE TABLE IF NOT EXISTS flows (
    host            LowCardinality(String),
    capture_start   DateTime64(6, 'UTC'),
    protocol        UInt8,
    src             String,
    src_port        Int32,
    src_port_collapsed Bool,
    dst             String,
    dst_port        Int32,
    icmp_type       Int16,
    icmp_code       Int16,
    zone            UInt16,
    dnat            String,
    dnat_port       Int32,
    snat            String,
    snat_port       Int32,
    confirmed       SimpleAggregateFunction(max, UInt8),
    connections     SimpleAggregateFunction(max, UInt64),
    first_seen      SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_seen       SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
) ENGINE = AggregatingMergeTree
ORDER BY (protocol, dst, dst_port, src, src_port, src_port_collapsed, icmp_type, icmp_code, zone,
          dnat, dnat_port, snat, snat_port, host, capture_start);

-- What `conntracker merge` makes of captures that don't overlap on a host. Rows melt some time after they are
-- loaded, so the view does it as well.
CREATE OR REPLACE VIEW merged_flows AS
SELECT protocol, src, src_port, src_port_collapsed, dst, dst_port, icmp_type, icmp_code, zone,
       dnat, dnat_port, snat, snat_port,
       max(ever_confirmed) AS confirmed, sum(most_connections) AS connections,
       min(first) AS first_seen, max(last) AS last_seen, groupUniqArray(host) AS hosts
FROM (
    SELECT host, capture_start, protocol, src, src_port, src_port_collapsed, dst, dst_port, icmp_type, icmp_code,
           zone, dnat, dnat_port, snat, snat_port,
           max(confirmed) AS ever_confirmed, max(connections) AS most_connections,
           min(first_seen) AS first, max(last_seen) AS last
    FROM flows
    GROUP BY host, capture_start, protocol, src, src_port, src_port_collapsed, dst, dst_port, icmp_type, icmp_code,
             zone, dnat, dnat_port, snat, snat_port
)
GROUP BY protocol, src, src_port, src_port_collapsed, dst, dst_port, icmp_type, icmp_code, zone,
         dnat, dnat_port, snat, snat_port;
