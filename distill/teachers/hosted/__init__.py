"""Hosted image generators: requests over the network that cost money.

`generator` builds requests and reads stored answers; `scheduler` sends the requests of a job, many at once, shard by
shard, through one `client` per service; `request_runner` sends one request until it is answered. `services` has one
module per service, `batch` the half-price jobs, `pricing` the costs (table in ``prices.yaml``).
"""
