-- Loads one capture, as JSON:  clickhouse-client --query "$(cat clickhouse-load.sql)" < gw1.json
INSERT INTO flows
SELECT capture_host, parseDateTime64BestEffort(capture_time, 6, 'UTC'),
       JSONExtract(line, 'protocol_number', 'UInt8'),
       JSONExtractString(line, 'src'),
       ifNull(JSONExtract(line, 'src_port', 'Nullable(Int32)'), -1),
       JSONExtractBool(line, 'src_port_collapsed'),
       JSONExtractString(line, 'dst'),
       ifNull(JSONExtract(line, 'dst_port', 'Nullable(Int32)'), -1),
       ifNull(JSONExtract(line, 'icmp_type', 'Nullable(Int16)'), -1),
       ifNull(JSONExtract(line, 'icmp_code', 'Nullable(Int16)'), -1),
       JSONExtract(line, 'zone', 'UInt16'),
       JSONExtractString(line, 'dnat', 'address'),
       ifNull(JSONExtract(line, 'dnat', 'port', 'Nullable(Int32)'), -1),
       JSONExtractString(line, 'snat', 'address'),
       ifNull(JSONExtract(line, 'snat', 'port', 'Nullable(Int32)'), -1),
       JSONExtractBool(line, 'confirmed'), JSONExtractUInt(line, 'connections'),
       parseDateTime64BestEffort(JSONExtractString(line, 'first_seen'), 6, 'UTC'),
       parseDateTime64BestEffort(JSONExtractString(line, 'last_seen'), 6, 'UTC')
FROM (
    -- Every line gets to know what the first one says of the capture.
    SELECT line,
           max(JSONExtractString(line, 'host')) OVER () AS capture_host,
           max(JSONExtractString(line, 'start')) OVER () AS capture_time
    FROM input('line String')
)
WHERE JSONExtractString(line, 'type') = 'flow'
FORMAT LineAsString
