"""The contract that boards and cloud both speak: messages, topics, digests, signatures, and the two
transports.

Pure data first (`messages`, `topics`, `digest`, `signing`), then two thin shells: `link` (MQTT) and `blobs`
(HTTP). Nothing here imports anything else of ours.
"""
