# The server. No torch, no training code is used; the starter release is inside.
FROM python:3.11-slim
WORKDIR /srv/paretofleet
COPY pyproject.toml constraints.txt README.md ./
COPY contract contract
COPY models models
COPY app app
COPY device_agent device_agent
COPY alembic alembic
COPY alembic.ini ./
COPY releases releases
RUN pip install --no-cache-dir -c constraints.txt ".[server]" \
 && useradd --system --create-home fleet \
 && mkdir /data && chown fleet /data
USER fleet
ENV PARETOFLEET_DATA_DIR=/data
VOLUME /data
EXPOSE 8080
CMD ["sh", "-c", "paretofleet migrate && paretofleet release load releases/starter && exec paretofleet serve --host 0.0.0.0 --port 8080"]
