# poa-server in a small image, run by its own user.
#
#   docker build --tag poa-server .

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --profile dist --locked --package poa-server \
    && install -D --strip target/dist/poa-server /out/poa-server

FROM debian:bookworm-slim
# The certificates are for connections to AWS and to databases. tini is process 1: it passes signals on, and collects the processes that
# plugins leave behind. (poa-server does that itself when it is process 1.)
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home poa \
    && install --directory --owner=poa --group=poa --mode=0700 /var/lib/poa
COPY --from=build /out/poa-server /usr/local/bin/poa-server
COPY deploy/ready.sh /usr/local/bin/poa-ready
USER poa
WORKDIR /var/lib/poa
VOLUME /var/lib/poa
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["bash", "/usr/local/bin/poa-ready"]
# The server drains what is queued, and then ends by itself.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "-s", "--", "poa-server"]
CMD ["--config", "/etc/poa/poa.toml"]
