"""Generators that are asked over a network and cost money.

painter.py   photo and question -> call; answers out of the store          (what the rest of the wing sees)
ahead.py     all calls of a job, many in flight, slice by slice
engine.py    one call until it is answered: caps, pace, retries, store, ledger
service.py   what a service is, and how calls can end
gemini.py    Google's API: one call    wire.py   what its answers mean    batch.py   its half-price jobs
openai.py    /v1/images/edits
prices.py    what a call costs, at most and probably
"""
