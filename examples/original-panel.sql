-- The original panel: candles of two minutes from the raw points of examples/criptomonedas666.yaml (InfluxDB 3).
-- Grafana puts the dashboard's time range in place of $__timeFrom and $__timeTo. Exact, since no two points of a
-- symbol share a time (docs/architecture.md).
SELECT
  DATE_BIN(INTERVAL '2 minutes', time, TIMESTAMP '1970-01-01T00:00:00Z') AS time,
  first_value(close_price ORDER BY time) AS open,
  max(close_price) AS high,
  min(close_price) AS low,
  last_value(close_price ORDER BY time) AS close
FROM criptomonedas666
WHERE "Coin" IN ('tBTCUSD') AND time >= $__timeFrom AND time <= $__timeTo
GROUP BY 1
ORDER BY 1
