# aubench on a processor; for a GPU: --build-arg TORCH_INDEX=https://pypi.org/simple
FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN useradd --create-home aubench
WORKDIR /opt/aubench
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY aubench aubench
COPY baselines baselines
COPY reference_model reference_model
COPY protocols protocols
COPY leaderboards leaderboards
# Wheels of the processor's index carry "+cpu", so torch is held to the tested version alone.
RUN sed -n -E 's/^(torch|torchvision)==([0-9.]+).*/\1==\2/p' constraints.txt > /tmp/torch.txt \
    && pip install --no-cache-dir --index-url "$TORCH_INDEX" --requirement /tmp/torch.txt \
    && pip install --no-cache-dir --constraint constraints.txt .
USER aubench
WORKDIR /home/aubench
ENV AUBENCH_HOME=/home/aubench/.cache/aubench
VOLUME /home/aubench/.cache/aubench
ENTRYPOINT ["aubench"]
CMD ["--help"]
