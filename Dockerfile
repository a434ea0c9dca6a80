# The image from static programs and nothing else: no shell, no libraries, no CA
# certificates. The operator talks to the Kubernetes API and its own receivers only;
# a receiver with an archive in a bucket gets certificates by a volume and
# SSL_CERT_FILE. Kubernetes takes only the user from `USER` and looks for the
# group in /etc/passwd, so the image has one with this user. `make image` makes the
# programs, and the same image without any engine; with one:
#
#   make image && docker build --file Dockerfile target/image
FROM scratch
COPY rootfs/ /
USER 65532:65532
ENTRYPOINT ["/promarchive"]
LABEL org.opencontainers.image.title="promarchive" \
      org.opencontainers.image.description="Stores every Prometheus sample in tables that any data tool can open" \
      org.opencontainers.image.source="https://github.com/promarchive/promarchive" \
      org.opencontainers.image.licenses="Apache-2.0"
