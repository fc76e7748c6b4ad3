import json, re

TEMPLATE = """<h1>{{ title }}</h1>
<table>
{% for i, order in enumerate(orders) %}<tr class="{{ "odd" if i % 2 else "even" }}"><td>{{ order["sku"] }}</td>\
<td>{{ order["quantity"] }}</td><td>{{ price(order["cents"]) }}</td></tr>
{% end %}</table>
<p>{{ len(orders) }} orders, {{ price(sum(it["quantity"] * it["cents"] for it in orders)) }}</p>
"""
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})


def escape(value):
    return str(value).translate(ENTITIES)


def price(cents):
    return f"{cents // 100}.{cents % 100:02d}"


def compiled(template, names):
    """A function of these names; {{ }} is an expression, {% %} a statement that goes on until {% end %}."""
    lines, depth = [f"def render({', '.join(names)}):", " out = []"], 1
    for part in re.split(r"(\{\{.*?\}\}|\{%.*?%\})", template):
        if part.startswith("{{"):
            lines.append(" " * depth + f"out.append(escape({part[2:-2].strip()}))")
        elif part.startswith("{%"):
            statement = part[2:-2].strip()
            if statement == "end":
                depth -= 1
            else:
                lines.append(" " * depth + statement + ":")
                depth += 1
        elif part:
            lines.append(" " * depth + f"out.append({part!r})")
    scope = {"escape": escape, "price": price}
    exec("\n".join(lines + [" return ''.join(out)"]), scope)
    return scope["render"]


render = compiled(TEMPLATE, ["title", "orders"])


def handle(data):
    return render(**json.loads(data))
