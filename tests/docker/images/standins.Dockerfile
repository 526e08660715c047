# In place of the official images of PostgreSQL, Redis and Prometheus where no registry can be reached: Debian's packages
# behind the same users, folders and variables, as far as docker/compose.yaml uses them.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS redis
RUN groupadd --gid 999 redis && useradd --uid 999 --gid 999 --no-create-home redis \
    && apt-get update && apt-get install -y --no-install-recommends redis-server \
    && install -d -o 999 -g 999 /data

FROM ${BASE} AS postgres
RUN groupadd --gid 999 postgres && useradd --uid 999 --gid 999 --no-create-home postgres \
    && apt-get update && apt-get install -y --no-install-recommends postgresql-15 \
    && install -d -o 999 -g 999 -m 700 /var/lib/postgresql/data \
    && install -d -o 999 -g 999 -m 3777 /run/postgresql
ENV PATH=/usr/lib/postgresql/15/bin:$PATH PGDATA=/var/lib/postgresql/data
COPY postgres.sh /
CMD ["sh", "/postgres.sh"]

FROM ${BASE} AS prometheus
RUN apt-get update && apt-get install -y --no-install-recommends prometheus \
    && install -d -o 65534 -g 65534 /prometheus
