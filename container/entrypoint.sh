#!/bin/sh
# Runs the image's command. Says how to run the image when asked, and where it can't work as it was run.
set -eu

usage() {
    cat <<'END'
SmolVLM2 Captioner, a CLAMS app: captions the TimeFrames of a video. POST a MMIF to port 5000 when /health/ready says 200.

  serve:    docker run --gpus all -p 5000:5000 --stop-timeout 90 -v /my/videos:/data:ro -v captioner-cache:/cache IMAGE
  one file: docker run --gpus all -i -v /my/videos:/data:ro -v captioner-cache:/cache IMAGE python3 cli.py <in >out
  try it:   add -e CAPTIONER_MODEL=demo, for a tiny model that reads a synthetic broadcast
  settings: -e CAPTIONER_KV_CACHE_GIB=6, or as flags: IMAGE --kv-cache-gib 6; all: IMAGE python3 app.py --help
  metadata: IMAGE python3 metadata.py

Videos are found where the MMIF says: mount them at the paths it names. Without the volume at /cache the weights (4.5 GB)
are downloaded at every start. Any user may run it (--user); it then has to be one who may write to the volume.
END
}

case "${1-}" in
    -h | --help | help)
        usage
        exit 0
        ;;
    -*) set -- python3 app.py --production "$@" ;;
esac

case "$*" in
    *--help*) ;;
    python3\ app.py* | python\ app.py*)
        if [ "${IMAGE_FLAVOUR}" = cuda ] && ! [ -e /dev/nvidiactl ] && ! [ -e /dev/dxg ]; then
            usage >&2
            echo "This image is for NVIDIA GPUs, and this container has none: add --gpus all, or take the CPU image." >&2
            exit 2
        fi
        ;;
esac

if ! [ -w "${XDG_CACHE_HOME}" ]; then
    echo "${XDG_CACHE_HOME} can't be written to by user $(id -u): run the image with --user, as its owner" \
        "($(stat -c %u:%g "${XDG_CACHE_HOME}")), or change the owner. Until then compiled kernels go to /tmp." >&2
    export XDG_CACHE_HOME=/tmp/cache TRITON_CACHE_DIR=/tmp/cache/triton TORCHINDUCTOR_CACHE_DIR=/tmp/cache/inductor
fi

exec "$@"
