# The server in a container. --build-arg EXTRAS=telemetry,wyoming adds extras of pyproject.toml;
# EXTRAS=lmdeploy is the variant for CUDA, whose libraries come with torch and whose driver with the host.

FROM python:3.11-slim-bookworm AS builder
ARG EXTRAS=""
WORKDIR /src
# The dependencies first: they change less often than the code. lmdeploy needs an older torch than the
# pinned one, and nothing else needs any.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN sed -i '/^torch==/d' constraints.txt \
    && mkdir app \
    && touch app/__init__.py \
    && python3 -m venv /opt/soprano \
    && /opt/soprano/bin/pip install --no-cache-dir --no-compile --constraint constraints.txt \
        ".${EXTRAS:+[$EXTRAS]}"
COPY app app
RUN /opt/soprano/bin/pip install --no-cache-dir --no-compile --no-deps --force-reinstall .
# Removes the tests of libraries, pip, and SciPy unless the package of Soprano needs it: for the embedded
# voice numpy 2 is as fast. Then speaks once, which compiles the modules that a server imports:
# nothing can be compiled where the root is read-only, and all modules would take 34 MB more.
RUN find /opt/soprano -type d \( -name test -o -name tests \) -prune -exec rm -r {} + \
    && case "$EXTRAS" in *soprano*|*lmdeploy*) ;; *) /opt/soprano/bin/pip uninstall --yes scipy ;; esac \
    && /opt/soprano/bin/pip uninstall --yes setuptools pip \
    && /opt/soprano/bin/soprano-api serve --help \
    && /opt/soprano/bin/soprano-api say "Ready." --backend embedded --output /tmp/ready.mp3

FROM python:3.11-slim-bookworm
COPY --from=builder /opt/soprano /opt/soprano
# What the server writes is in /data: stored audio, weights and graphs. Any user of group 0 may run it.
RUN install --directory --owner 10001 --group 0 --mode 0775 /data
ENV PATH=/opt/soprano/bin:$PATH \
    HOME=/data \
    SOPRANO_SERVER__HOST=0.0.0.0 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /data
VOLUME /data
USER 10001:0
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready')"]
ENTRYPOINT ["soprano-api"]
CMD ["serve"]
