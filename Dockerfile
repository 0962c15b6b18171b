# mcfwd in a container: docker run --rm --network host --cap-drop ALL --cap-add NET_RAW mcfwd run -u eth0 -d eth1
FROM python:3.11-slim
COPY pyproject.toml README.md LICENSE /src/
COPY forwarder /src/forwarder
COPY igmp /src/igmp
RUN pip install --no-cache-dir /src && rm -r /src
ENTRYPOINT ["mcfwd"]
