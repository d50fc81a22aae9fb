# Ferrovia in a container: one binary on a small base, without root, with its own health check.
#
#   docker build -t ferrovia .
#   docker run --rm -p 8080:8080 --env-file .env ferrovia
#
# Needs BuildKit, which is docker's default: the cache mounts make the second build take seconds.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# `dist` is what is shipped: fat LTO, stripped. The binary is moved out of the cache mount, which is not part of the layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --package server \
    && cp target/dist/ferrovia /usr/local/bin/ferrovia
# The working folder of the service, made here because the final stage runs no commands: what is kept (inventory,
# later the database) lies below it, under the names that GoModel's image uses.
RUN mkdir -p /app/data /app/.cache /app/config

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Ferrovia" \
      org.opencontainers.image.description="An AI gateway: one binary between applications and models" \
      org.opencontainers.image.licenses="Apache-2.0"
# Root certificates for providers behind https; the base has none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /app /app
COPY --from=build /usr/local/bin/ferrovia /usr/local/bin/ferrovia
WORKDIR /app
# A number, so that orchestrators can verify that it is not root; nothing needs a name for it.
USER 65532:65532
EXPOSE 8080
# Asks the service on this container's own port, so it follows PORT and BASE_PATH.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["ferrovia", "health"]
# SIGTERM, docker's default, lets running streams finish.
ENTRYPOINT ["ferrovia"]
