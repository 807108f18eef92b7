"""Candles of one second in InfluxDB against what the exchange says happened, both asked over the cluster's Services.

Argument: how many seconds, up to the last one that must be final. Exit 0: every one equal, 1: not."""

import base64
import csv
import io
import json
import subprocess
import sys
import urllib.request
from datetime import datetime
from decimal import Decimal

# Windows end, wait for stragglers (10 s), and are written in batches.
SETTLE_MS = 25_000


def kubectl(*arguments):
    return subprocess.check_output(["kubectl", "-n", "candles", *arguments], text=True)


def address(service):
    return kubectl("get", "service", service, "-o", "jsonpath={.spec.clusterIP}")


def get(url, **request):
    with urllib.request.urlopen(urllib.request.Request(url, **request), timeout=20) as answer:
        return answer.read().decode()


def trades_of(exchange, symbol, start_ms, end_ms):
    """By id, in pages: the next begins in the millisecond in which the last ended."""
    trades = {}
    while True:
        page = get(f"{exchange}/truth?symbol={symbol}&start_ms={start_ms}&end_ms={end_ms - 1}&limit=10000")
        new = [trade for trade in map(json.loads, page.splitlines()) if trade["id"] not in trades]
        if not new:
            return trades
        trades |= {trade["id"]: trade for trade in new}
        start_ms = max(trade["ms"] for trade in new)


def candles_of(trades):
    windows = {}
    for trade in sorted(trades.values(), key=lambda trade: (trade["ms"], trade["id"])):
        windows.setdefault(trade["ms"] // 1000 * 1000, []).append(trade)
    return {start: candle(inside) for start, inside in windows.items()}


def candle(trades):
    prices = [float(trade["price"]) for trade in trades]
    volume = sum(abs(Decimal(trade["amount"])) for trade in trades)
    return (prices[0], max(prices), min(prices), prices[-1], len(trades), float(volume))


def stored(token, symbol, start_ms, end_ms):
    query = (
        f'from(bucket: "candles") |> range(start: time(v: {start_ms}000000), stop: time(v: {end_ms}000000))'
        f' |> filter(fn: (r) => r._measurement == "candles" and r.symbol == "{symbol}" and r.interval == "1s")'
        ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()'
    )
    headers = {"Authorization": f"Token {token}", "Content-Type": "application/vnd.flux"}
    answer = get(f"http://{address('stack-influxdb')}:8086/api/v2/query?org=candles", data=query.encode(), headers=headers)
    rows = [row for row in csv.DictReader(io.StringIO(answer)) if row.get("_time")]
    fields = ("open", "high", "low", "close", "count", "volume")
    time_ms = lambda row: round(datetime.fromisoformat(row["_time"].replace("Z", "+00:00")).timestamp() * 1000)
    return {time_ms(row): tuple(float(row[field]) for field in fields) for row in rows}


def same(one, other):
    """Prices and counts to the last bit; a sum of volumes depends on its order."""
    return one is not None and other is not None and one[:5] == other[:5] and abs(one[5] - other[5]) <= 1e-9 * abs(one[5])


def main():
    secret = kubectl("get", "secret", "stack-influxdb", "-o", "jsonpath={.data.token}")
    token = base64.b64decode(secret).decode()
    exchange = f"http://{address('exchange')}:8002/sim"
    end_ms = (json.loads(get(f"{exchange}/clock"))["ms"] - SETTLE_MS) // 1000 * 1000
    start_ms = end_ms - int(sys.argv[1]) * 1000
    wrong = 0
    for symbol in ("tBTCUSD", "tETHUSD"):
        expected = candles_of(trades_of(exchange, symbol, start_ms, end_ms))
        found = stored(token, symbol, start_ms, end_ms)
        differing = [at for at in sorted(expected | found) if not same(expected.get(at), found.get(at))]
        for at in differing[:3]:
            print(f"{symbol} {at}: expected {expected.get(at)}, found {found.get(at)}")
        print(f"{symbol}: {len(expected)} candles, {len(differing)} differ")
        wrong += len(differing) + (not expected)
    return 1 if wrong else 0


sys.exit(main())
