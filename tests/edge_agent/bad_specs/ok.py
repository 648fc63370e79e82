def on_result(item, state):
    return item


def alone(item):
    return item
