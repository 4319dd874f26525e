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
ENV PATH=/usr/bin NAS_KNOWN_HOSTS=/data/known_hosts
USER 65532:65532
VOLUME /data
ENTRYPOINT ["nas-sync"]
CMD ["--help"]
