#!/usr/bin/env bash
# Builds the image for CPU, runs it and checks what docs/container.md says of it. Needs buildah, podman and, unless a
# base image is named, debootstrap; and root, or a user who may use them. The engine runs the demo model.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

base=''
folder=build/container
host_pip=''
keep=''
podman_options=()
run_options=()

usage() {
  cat <<'END'
scripts/prove_container.sh [OPTIONS]
  --base IMAGE       the base image [default: Debian with Python, made here by debootstrap]
  --folder FOLDER    for image storage and the video; removed at the end [default: build/container]
  --keep             leave the folder, so that the next run finds the base and the layers there
  --host-pip         have pip in the build use this machine's pip configuration and the files it names
  --podman OPTION    for podman itself, such as --podman --runtime=runc; may be repeated
  --run OPTION       for podman run, such as --run --ulimit=nofile=1024:1024; may be repeated
END
}

while [ $# -gt 0 ]; do
  case "$1" in
    --base) base=$2; shift ;;
    --folder) folder=$2; shift ;;
    --host-pip) host_pip=1 ;;
    --keep) keep=1 ;;
    --podman) podman_options+=("$2"); shift ;;
    --run) run_options+=("$2"); shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done

image=localhost/smolvlm2-captioner:proof
version=v0.0.1-proof
container=captioner-proof
mkdir -p "$folder"/{cache,data,build-time}
folder=$(realpath "$folder")
storage=(--root "$folder/storage" --runroot "$folder/run")

buildah() { command buildah "${storage[@]}" --log-level error "$@"; }
podman() { command podman "${storage[@]}" --log-level fatal "${podman_options[@]}" "$@"; }
# With neither network nor a user that the image knows, and only what is mounted to write to.
run_in() {
  local network=$1
  shift
  podman run "${run_options[@]}" --network "$network" --read-only --tmpfs /tmp --user 4711:4711 \
    --volume "$folder/cache:/cache" --volume "$folder/data:/data" --env CAPTIONER_MODEL=demo "$@"
}
run() { run_in none "$@"; }
say() { printf '\n== %s\n' "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

clean_up() {
  podman rm --force --ignore --time 5 "$container" >/dev/null 2>&1 || true
  if [ -z "$keep" ]; then
    podman rmi --all --force >/dev/null 2>&1 || true
    awk -v under="$folder/" 'index($5, under) == 1 { print $5 }' /proc/self/mountinfo | sort --reverse |
      while read -r mounted; do umount "$mounted"; done  # podman mounts its storage on itself
    rm -rf "$folder"
  fi
}
trap clean_up EXIT

make_base() {
  base=localhost/clams-python-stand-in
  if buildah inspect --type image "$base" >/dev/null 2>&1; then return; fi
  say "making a base image: Debian with Python"
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder/base" \
    >"$folder/debootstrap.log" || fail "debootstrap, see $folder/debootstrap.log"
  local made
  made=$(buildah from scratch)
  buildah add --quiet "$made" "$folder/base" / >/dev/null
  buildah commit --quiet --rm "$made" "$base" >/dev/null
  rm -rf "$folder/base"
}

# The build's pip may need what this machine's pip needs. It is mounted while building, and no part of the image.
mounts_for_pip() {
  python3 - "$folder/build-time/pip.conf" <<'END'
import re, subprocess, sys
from pathlib import Path
listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
found = dict(re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", listed.stdout, re.MULTILINE))
Path(sys.argv[1]).write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in found.items()))
print(f"{sys.argv[1]}:/etc/pip.conf:ro")
for value in found.values():
    for word in value.split():
        path = Path(word.removeprefix("file://"))
        path = path.parent if word.startswith("file://") else path  # an index names files beside it
        if path.is_absolute() and path.exists():
            print(f"{path}:{path}:ro")
END
}

[ -n "$base" ] || make_base

say "building the image for CPU on $base"
mounts=()
if [ -n "$host_pip" ]; then
  while read -r mount; do mounts+=(--volume "$mount"); done < <(mounts_for_pip)
fi
buildah build --layers --format docker --isolation chroot --file Containerfile --tag "$image" "${mounts[@]}" \
  --build-arg BASE="$base" --build-arg FLAVOUR=cpu --build-arg CLAMS_APP_VERSION="$version" .

say "layers"
podman history --format '{{.Size}}\t{{.CreatedBy}}' "$image" | cut -c 1-120

say "it says how to run it, and which version it is"
run --rm "$image" --help | grep -q 'docker run --gpus all' || fail "--help prints no usage"
identifier=$(run --rm "$image" python3 metadata.py | python3 -c 'import json, sys; print(json.load(sys.stdin)["identifier"])')
[ "$identifier" = "http://apps.clams.ai/smolvlm2-captioner/$version" ] || fail "metadata.py calls it $identifier"
echo "$identifier"

say "no build tools, no root"
tools=$(run --rm "$image" sh -c 'for tool in cc gcc g++ c++ make cmake git cargo ld /app/.venv/bin/pip; do command -v $tool; done; true')
[ -z "$tools" ] || fail "the image has $tools"
[ "$(podman run "${run_options[@]}" --network none --rm "$image" id -u)" = 1000 ] || fail "it does not run as user 1000 by default"
left=$(run --rm "$image" sh -c 'find / -xdev -path /cache -prune -o -path /data -prune -o -path /tmp -prune -o -writable \( -type f -o -type d \) -print 2>/dev/null | grep -v ^/proc | grep -v ^/dev | head' || true)
echo "writable outside of /cache, /data and /tmp: ${left:-nothing}"

say "a folder that the mounted user may not write to is named"
chmod 755 "$folder/cache"
chown 0:0 "$folder/cache"
run --rm "$image" true 2>&1 | grep -q "/cache can't be written to by user 4711" || fail "nothing is said of an unwritable cache"

say "another user's mounted folders"
chown 4711:4711 "$folder/cache" "$folder/data"
run --rm "$image" python3 -m demo.broadcast /data --seconds 240 --seed 4 >/dev/null
[ "$(stat -c %u "$folder/data/broadcast.mp4")" = 4711 ] || fail "the broadcast is not of the user that made it"

say "serving"
run --detach --name "$container" --stop-timeout 90 "$image" >/dev/null
until podman healthcheck run "$container" >/dev/null 2>&1; do
  [ "$(podman inspect --format '{{.State.Running}}' "$container")" = true ] || { podman logs "$container"; fail "it ended"; }
  sleep 1
done
echo "healthy; process 1 is: $(podman exec "$container" python3 -c 'print(open("/proc/1/cmdline").read().replace("\0", " "))')"

# From a container beside it, in its network: processes in the container itself end with the server.
call() { run_in "container:$container" --rm --interactive "$image" python3 - "$@"; }
read -r -d '' caller <<'END' || true
import json, math, sys, urllib.request
from pathlib import Path
sys.path.insert(0, "/app")
from mmif import AnnotationTypes, DocumentTypes, Mmif
from demo.broadcast import NTSC, Broadcast, make_segments

segments = make_segments(240, 4)
shown = Broadcast(Path("/data/broadcast.mp4"), segments, NTSC, 0, math.ceil(segments[-1].end * NTSC))
given = Path("/data/swt.mmif").read_bytes()
answer = urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:5000/?" + sys.argv[1], given), timeout=600)
whole = Mmif(answer.read().decode())
found = 0
for view in whole.views:
    for text in view.get_annotations(DocumentTypes.TextDocument):
        times = [whole[origin].get_property("timePoint") for origin in text.get_property("origins")]
        assert text.text_value == shown.expected_caption(times), (text.text_value, shown.expected_caption(times))
        found += 1
        if found <= 2:
            print(f"  {text.text_value}")
print(f"HTTP {answer.status}, {found} captions, all of them right")
END

say "a caption"
call 'tfLabels=slate&parallelPrompts=4' <<<"$caller" | tee "$folder/first.txt"
grep -q 'all of them right' "$folder/first.txt" || fail "no caption"

say "SIGTERM while a call is in flight: it is answered, then the server ends with 0"
engine_seconds() {
  podman exec "$container" python3 -c \
    'import psutil; print(int(sum(p.cpu_times().user for p in psutil.process_iter() if "EngineCore" in p.name())))'
}
before=$(engine_seconds)
call 'tfLabels=slate&tfSamplingMode=all&maxImagesPerPrompt=1' <<<"$caller" >"$folder/drained.txt" 2>&1 &
calling=$!
until [ "$(engine_seconds)" -gt "$((before + 1))" ]; do
  kill -0 $calling 2>/dev/null || { cat "$folder/drained.txt"; fail "the call ended before the engine was seen at work"; }
done
podman stop "$container" >/dev/null
podman wait "$container" >/dev/null
wait $calling || { cat "$folder/drained.txt"; fail "the call in flight was not answered"; }
cat "$folder/drained.txt"
code=$(podman inspect --format '{{.State.ExitCode}}' "$container")
[ "$code" = 0 ] || { podman logs "$container"; fail "it ended with $code"; }
podman logs "$container" 2>&1 | grep -iE 'error|traceback' && fail "it complained" || true
echo "exit code 0"

say "proved"
