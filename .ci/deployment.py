#!/usr/bin/env python3
"""Checks that Dockerfile, compose.yaml and deploy/prometheus.yml agree, where no docker daemon can build and run them.

    .ci/deployment.py

hadolint and the schema of compose files, both run by .ci/run, judge each file by itself. This looks at what only shows
when they are read together: that a port scraped is the port served, that a mounted file exists, that what the
image copies is not ignored, that nothing runs as root and everything can be asked whether it is well.
"""

import fnmatch
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
INFRASTRUCTURE = {"redis", "postgres", "mongodb", "adminer"}
APPLICATION = {"ferrovia", "prometheus"}


def instructions(text):
    """(NAME, arguments) of each instruction, continued lines joined, comments gone."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.strip().split(None, 1)) for line in joined.splitlines() if line.strip()]


def dockerfile(complaints):
    """The port that the image serves on."""
    found = instructions((ROOT / "Dockerfile").read_text())
    last_from = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    final = dict(found[last_from:])
    user = final.get("USER", "root").split(":")[0]
    if not user.isdigit() or int(user) == 0:
        complaints.append(f"Dockerfile: the final stage runs as {user!r}; USER must be a number other than 0")
    if 'CMD ["ferrovia", "health"]' not in final.get("HEALTHCHECK", ""):
        complaints.append("Dockerfile: HEALTHCHECK does not run `ferrovia health`")
    if final.get("ENTRYPOINT") != '["ferrovia"]':
        complaints.append("Dockerfile: ENTRYPOINT is not the binary alone, so arguments and signals will not reach it")
    for name, arguments in found:
        image = arguments.split()[0]
        if name == "FROM" and (":" not in image or image.endswith(":latest")):
            complaints.append(f"Dockerfile: FROM {image} does not say which version")
    profiles = re.findall(r"^\[profile\.(\w+)\]", (ROOT / "Cargo.toml").read_text(), re.M)
    for profile in re.findall(r"--profile (\w+)", " ".join(arguments for _, arguments in found)):
        if profile not in profiles:
            complaints.append(f"Dockerfile: builds with profile {profile}, which Cargo.toml does not have")
    return int(final.get("EXPOSE", "0"))


def ignored(complaints):
    """What the build needs must get past .dockerignore, and what must not leave the machine must not."""
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [rule.strip() for rule in rules if rule.strip() and not rule.startswith("#")]

    def is_ignored(path):
        answer = False
        for rule in rules:
            pattern = rule.lstrip("!").removeprefix("**/")
            parts = Path(path).parts
            names = parts if rule.lstrip("!").startswith("**/") else parts[:1]
            if any(fnmatch.fnmatch(name, pattern) for name in names):
                answer = not rule.startswith("!")
        return answer

    for needed in ["Cargo.toml", "Cargo.lock", "crates/server/src/main.rs"]:
        if is_ignored(needed):
            complaints.append(f".dockerignore: {needed} is left out, and the build needs it")
    for secret in [".env", "crates/server/.env", "target/debug/ferrovia", ".git/config", "data/ferrovia.db"]:
        if not is_ignored(secret):
            complaints.append(f".dockerignore: {secret} would be sent to the builder")


def compose(complaints, port):
    told = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services = told["services"]
    plain = {name for name, service in services.items() if not service.get("profiles")}
    app = {name for name, service in services.items() if service.get("profiles") == ["app"]}
    if plain != INFRASTRUCTURE or app != APPLICATION:
        complaints.append(f"compose.yaml: without a profile {sorted(plain)}, in profile app {sorted(app)}")
    published = []
    for name, service in services.items():
        if "healthcheck" not in service and name != "ferrovia":  # whose image has one
            complaints.append(f"compose.yaml: {name} has no healthcheck")
        if "build" not in service and not re.search(r":[^/]*\d", service.get("image", "")):
            complaints.append(f"compose.yaml: {name}'s image does not say which version")
        for spelled in service.get("ports", []):
            address, outside, inside = spelled.split(":")
            published.append(outside)
            if address != "127.0.0.1":
                complaints.append(f"compose.yaml: {name} is published on {address}")
            if name == "ferrovia" and int(inside) != port:
                complaints.append(f"compose.yaml: ferrovia's port {inside} is not the image's {port}")
        for spelled in service.get("volumes", []):
            source = spelled.split(":")[0]
            if source.startswith("."):
                if not (ROOT / source).is_file():
                    complaints.append(f"compose.yaml: {name} mounts {source}, which does not exist")
            elif source not in told["volumes"]:
                complaints.append(f"compose.yaml: {name} uses volume {source}, which is not declared")
        for other in service.get("depends_on", {}):
            if other not in services:
                complaints.append(f"compose.yaml: {name} depends on {other}, which does not exist")
    if int(services["ferrovia"]["environment"]["PORT"]) != port:
        complaints.append("compose.yaml: ferrovia's PORT is not the port that the image exposes")
    if len(set(published)) != len(published):
        complaints.append(f"compose.yaml: a port is published twice: {sorted(published)}")
    return services


def prometheus(complaints, services, port):
    told = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    jobs = told["scrape_configs"]
    targets = [target for job in jobs for some in job["static_configs"] for target in some["targets"]]
    if f"ferrovia:{port}" not in targets:
        complaints.append(f"deploy/prometheus.yml: ferrovia:{port} is not scraped, only {targets}")
    for target in targets:
        host = target.split(":")[0]
        if host not in services and host != "host.docker.internal":
            complaints.append(f"deploy/prometheus.yml: {target} is no service of compose.yaml")
    if str(services["ferrovia"]["environment"].get("METRICS_ENABLED")) != "true":
        complaints.append("compose.yaml: ferrovia is scraped, but its METRICS_ENABLED is not true")


def main():
    complaints = []
    port = dockerfile(complaints)
    ignored(complaints)
    services = compose(complaints, port)
    prometheus(complaints, services, port)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    print(f"deployment files: {'agree' if not complaints else f'{len(complaints)} complaints'}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
