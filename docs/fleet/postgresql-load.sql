-- Loads one capture, as JSON, from standard input:  psql -f postgresql-load.sql < gw1.json
\set ON_ERROR_STOP on
BEGIN;
CREATE TEMP TABLE lines (line jsonb NOT NULL) ON COMMIT DROP;
-- A line is one value: neither the quote nor the delimiter stands in JSON text.
\copy lines FROM pstdin WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')

INSERT INTO flows
SELECT capture.line->>'host', (capture.line->>'start')::timestamptz,
       (flow.line->>'protocol_number')::smallint,
       (flow.line->>'src')::inet, (flow.line->>'src_port')::integer, (flow.line->>'src_port_collapsed')::boolean,
       (flow.line->>'dst')::inet, (flow.line->>'dst_port')::integer,
       (flow.line->>'icmp_type')::smallint, (flow.line->>'icmp_code')::smallint,
       coalesce((flow.line->>'zone')::integer, 0),
       (flow.line->'dnat'->>'address')::inet, (flow.line->'dnat'->>'port')::integer,
       (flow.line->'snat'->>'address')::inet, (flow.line->'snat'->>'port')::integer,
       (flow.line->>'confirmed')::boolean, (flow.line->>'connections')::bigint,
       (flow.line->>'first_seen')::timestamptz, (flow.line->>'last_seen')::timestamptz
FROM lines AS flow, lines AS capture
WHERE flow.line->>'type' = 'flow' AND capture.line->>'type' = 'capture'
ON CONFLICT (host, capture_start, protocol, src, src_port, src_port_collapsed, dst, dst_port,
             icmp_type, icmp_code, zone, dnat, dnat_port, snat, snat_port)
DO UPDATE SET confirmed = flows.confirmed OR excluded.confirmed,
              connections = greatest(flows.connections, excluded.connections),
              first_seen = least(flows.first_seen, excluded.first_seen),
              last_seen = greatest(flows.last_seen, excluded.last_seen);
COMMIT;
