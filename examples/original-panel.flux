// The original panel (original-panel.sql) in Flux, for InfluxDB 2: candles of two minutes from the raw points of
// examples/criptomonedas666.yaml. Grafana and InfluxDB's own editor set v to the dashboard's time range and bucket.
prices =
    from(bucket: v.defaultBucket)
        |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
        |> filter(fn: (r) => r._measurement == "criptomonedas666" and r._field == "close_price")
        |> filter(fn: (r) => r.Coin == "tBTCUSD")

part = (name, fn) =>
    prices
        |> aggregateWindow(every: 2m, fn: fn, createEmpty: false, timeSrc: "_start")
        |> truncateTimeColumn(unit: 2m)
        |> set(key: "_field", value: name)

union(
    tables: [
        part(name: "open", fn: first),
        part(name: "high", fn: max),
        part(name: "low", fn: min),
        part(name: "close", fn: last),
    ],
)
    |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    |> group()
    |> sort(columns: ["_time"])
    |> keep(columns: ["_time", "open", "high", "low", "close"])
