"""What `kustomize build` makes of k8s/, for tests on machines without it: the fields that are used there, no others.

A field that this does not know is an error, not a guess. Where kubectl is installed a test compares the two. Names of
generated ConfigMaps and Secrets have no hash behind them here.
"""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

_FIELDS = {
    "apiVersion",
    "kind",
    "namespace",
    "labels",
    "resources",
    "components",
    "images",
    "configMapGenerator",
    "secretGenerator",
    "patches",
}
_BUILT_IN = {"Deployment", "Job", "CronJob"}
# By what the items of a list are told apart in a strategic merge patch (k8s.io/api, patchMergeKey).
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "topologySpreadConstraints": "topologyKey",
}


def build(folder: Path) -> list[Manifest]:
    """Every object of a kustomization, patched."""
    return _apply(folder, [])


def _apply(folder: Path, objects: list[Manifest]) -> list[Manifest]:
    file = folder / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text("utf-8"))
    if unknown := set(kustomization) - _FIELDS:
        raise ValueError(f"{file}: {', '.join(sorted(unknown))}: not known to tests/kustomization.py")
    for entry in kustomization.get("resources", []):
        path = folder / entry
        objects += build(path) if path.is_dir() else _documents(path.read_text("utf-8"))
    for generator in kustomization.get("configMapGenerator", []):
        _generate(folder, objects, "ConfigMap", generator)
    for generator in kustomization.get("secretGenerator", []):
        _generate(folder, objects, "Secret", generator)
    for entry in kustomization.get("components", []):
        _apply(folder / entry, objects)
    for patch in kustomization.get("patches", []):
        _patch(folder, objects, patch)
    for item in objects:
        _label(item, kustomization)
        if "namespace" in kustomization:
            if item["kind"] == "Namespace":
                item["metadata"]["name"] = kustomization["namespace"]
            else:
                item["metadata"]["namespace"] = kustomization["namespace"]
        for image in kustomization.get("images", []):
            _rename_image(item, image)
    return objects


def _documents(text: str) -> list[Any]:
    return [document for document in yaml.safe_load_all(text) if document]


def _generate(folder: Path, objects: list[Manifest], kind: str, generator: Mapping[str, Any]) -> None:
    data: dict[str, str] = {}
    for file in generator["envs"]:
        lines = (folder / file).read_text("utf-8").splitlines()
        data |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    known = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, generator["name"])]
    if generator.get("behavior") == "merge":
        known[0]["data"] |= data
        return
    assert not known, generator
    objects.append({"apiVersion": "v1", "kind": kind, "metadata": {"name": generator["name"]}, "data": data})


def _label(item: Manifest, kustomization: Mapping[str, Any]) -> None:
    for label in kustomization.get("labels", []):
        item["metadata"].setdefault("labels", {}).update(label["pairs"])


def _rename_image(node: Any, image: Mapping[str, str]) -> None:
    if isinstance(node, list):
        for part in node:
            _rename_image(part, image)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "image" and value == image["name"]:
                node[name] = f"{image['newName']}:{image['newTag']}"
            else:
                _rename_image(value, image)


def _patch(folder: Path, objects: list[Manifest], patch: Mapping[str, Any]) -> None:
    text = (folder / patch["path"]).read_text("utf-8") if "path" in patch else patch["patch"]
    for document in _documents(text):
        if isinstance(document, list):
            for item in _targets(objects, patch["target"]):
                for operation in document:
                    _replace(item, operation)
            continue
        own = {"kind": document["kind"], "name": document["metadata"]["name"]}
        content = {
            name: value for name, value in document.items() if name not in {"apiVersion", "kind", "metadata"}
        }
        if metadata := {k: v for k, v in document["metadata"].items() if k != "name"}:
            content["metadata"] = metadata
        targets = list(_targets(objects, patch.get("target", own)))
        assert targets, (folder, patch)
        for item in targets:
            if content.get("$patch") == "delete":
                objects.remove(item)
            else:
                _merge(item, content, keys=_MERGE_KEYS if item["kind"] in _BUILT_IN else {})


def _targets(objects: list[Manifest], target: Mapping[str, str]) -> Iterator[Manifest]:
    unequal = target.get("labelSelector")
    for item in list(objects):
        if (
            item["kind"] != target["kind"]
            or target.get("name", item["metadata"]["name"]) != item["metadata"]["name"]
        ):
            continue
        if unequal:
            label, value = unequal.split("!=")
            if item["metadata"].get("labels", {}).get(label) == value:
                continue
        yield item


def _replace(item: Manifest, operation: Mapping[str, Any]) -> None:
    assert operation["op"] == "replace", operation
    *parents, last = operation["path"].lstrip("/").split("/")
    node = item
    for part in parents:
        node = node[part]
    assert last in node, operation
    node[last] = copy.deepcopy(operation["value"])


def _merge(item: Manifest, patch: Mapping[str, Any], *, keys: Mapping[str, str]) -> None:
    for name, value in patch.items():
        present = item.get(name)
        if value is None:
            item.pop(name, None)
        elif isinstance(value, dict) and isinstance(present, dict):
            _merge(present, value, keys=keys)
        elif isinstance(value, list) and isinstance(present, list) and name in keys:
            _merge_items(present, value, key=keys[name], keys=keys)
        else:
            item[name] = copy.deepcopy(value)


def _merge_items(present: list[Any], patch: list[Any], *, key: str, keys: Mapping[str, str]) -> None:
    known = {item[key]: item for item in present}
    for item in patch:
        if item[key] in known:
            _merge(known[item[key]], item, keys=keys)
        else:
            present.append(copy.deepcopy(item))
