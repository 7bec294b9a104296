"""The local stack: Postgres, broker, web server, worker and beat, under one supervisor.

`python -m deploy.local --help` lists the commands; `make up` and `make down` call them. The servers
come from wheels and are replaceable: with DATABASE_URL or REDIS_URL in the environment, that server
is used and none is started here. Everything listens on the loopback address alone.
"""
