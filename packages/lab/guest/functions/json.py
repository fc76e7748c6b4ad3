import json


def handle(data):
    totals = {}
    for order in json.loads(data):
        sku = order["sku"]
        totals[sku] = totals.get(sku, 0) + order["quantity"] * order["cents"]
    return json.dumps(sorted(totals.items()), separators=(",", ":"))
