"""Real servers for tests, benchmarks and the demo: each a context manager, all on 127.0.0.1.

    with RedisServer() as redis, PostgresCluster(replicas=2) as postgres:
        redis.url, postgres.primary.url("asyncpg"), postgres.replicas[0].url("psycopg")

They need neither pytest nor a driver. `ServerMissing` says how to install one that is not there.
"""

from tests.servers.base import PortTaken, Server, ServerFailed, ServerMissing
from tests.servers.localstack import LocalStack
from tests.servers.mariadb import MariaDBServer
from tests.servers.mariadb_pair import MariaDBPair
from tests.servers.memcached import Memcached
from tests.servers.nginx import Nginx
from tests.servers.postgres import PostgresServer
from tests.servers.postgres_cluster import PostgresCluster
from tests.servers.redis import RedisServer
from tests.servers.redis_cluster import RedisCluster
from tests.servers.redis_sentinel import RedisSentinel
from tests.servers.s3 import S3Server
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.waiting import wait_until

__all__ = [
    "LocalStack",
    "MariaDBPair",
    "MariaDBServer",
    "Memcached",
    "Nginx",
    "PortTaken",
    "PostgresCluster",
    "PostgresServer",
    "RedisCluster",
    "RedisSentinel",
    "RedisServer",
    "S3Server",
    "SeaweedFS",
    "Server",
    "ServerFailed",
    "ServerMissing",
    "wait_until",
]
