def on_result(item, state):
    return {"a": 1
