"""Generators that are asked over a network and cost money.

painter.py: photo and question to call, answers out of the store; what the rest of the wing sees.
ahead.py: all questions of a job, many in flight, slice by slice. desk.py: one service, opened when it is first asked.
engine.py: one call until it is answered: caps, pace, retries, store, ledger.
service.py: what a service is, and how calls can end.
gemini.py: Google's API, one call; wire.py: what its answers mean; canvases.py: which sizes the models know.
batch.py: half-price jobs; jobs.py: their files and names at the service.
openai.py: image edit endpoints. prices.py, prices.yaml: what a call costs, at most and probably.
"""
