# The image holds one static binary under two names, `nas-sync` and `rsync`, and an empty folder for its data.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN make static \
 && mkdir -p /image/usr/bin /image/data \
 && cp target/*-unknown-linux-gnu/release/nas-sync /image/usr/bin/nas-sync \
 && ln -s nas-sync /image/usr/bin/rsync \
 && chown 65532:65532 /image/data

FROM scratch
COPY --from=build /image/ /
# The database, known_hosts, and a .env file if there is one.
WORKDIR /data
ENV PATH=/usr/bin NAS_KNOWN_HOSTS=/data/known_hosts NAS_API_ADDR=0.0.0.0:8730
USER 65532:65532
VOLUME /data
# Others can connect to this address, so `serve` needs NAS_API_TOKEN or NAS_API_TOKEN_FILE.
EXPOSE 8730
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s CMD ["nas-sync", "health"]
ENTRYPOINT ["nas-sync"]
CMD ["serve"]
