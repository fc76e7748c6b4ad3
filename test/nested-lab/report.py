#!/usr/bin/python3
import json, sys

totals = {}
for order in json.load(sys.stdin):
    totals[order["sku"]] = totals.get(order["sku"], 0) + order["quantity"] * order["cents"]
json.dump(sorted(totals.items()), sys.stdout, separators=(",", ":"))
