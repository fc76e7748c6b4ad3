def handle(data):
    return b"hello, " + data
