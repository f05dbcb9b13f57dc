# usagelake in a container: not root, no shell, one program. Build it in a clone, so that the program knows its commit:
#
#   docker build --build-arg VERSION="$(git describe --tags --always)" -t usagelake .
#
# The bases are pinned to versions here. To pin their bytes, too, add the digests that your registry shows:
#
#   docker buildx imagetools inspect golang:1.26.8-bookworm
#   docker buildx imagetools inspect gcr.io/distroless/cc-debian12:nonroot
#
# and write FROM NAME:TAG@sha256:…
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=""
RUN CGO_ENABLED=1 GOFLAGS="" GOTOOLCHAIN=local go build -mod=readonly -trimpath -buildvcs=true \
      -ldflags "-s -w -buildid= -X main.release=${VERSION}" -o /out/usr/local/bin/usagelake ./cmd/usagelake \
 && mkdir -p /out/usr/share/doc/usagelake /data \
 && cp LICENSE /out/usr/share/doc/usagelake/ \
 && /out/usr/local/bin/usagelake version

# glibc, libstdc++, certificates and time zones of the same Debian as above, and nothing to log into.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="usagelake" \
      org.opencontainers.image.description="Exports LLM usage from the Portal's Manager API to Parquet and DuckDB" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/usagelake/usagelake"
COPY --from=build /out/ /
# A number, so that a cluster can see that it isn't root.
USER 65532:65532
# An empty volume that is mounted on /data gets the owner of this directory.
COPY --from=build --chown=65532:65532 /data /data
WORKDIR /data
ENV USAGELAKE_LAKE=/data/lake
ENTRYPOINT ["/usr/local/bin/usagelake"]
CMD ["--help"]
