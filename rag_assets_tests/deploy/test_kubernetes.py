"""The manifests: built by kustomize, compared with Kubernetes' own models, and confined."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes import client

from rag_assets.config import load_config
from rag_assets.service.server import _DRAIN_SECONDS

KUBERNETES = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
needs_kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
Manifest = dict[str, Any]

# What Karpenter's documentation of its API names, of which the manifests use a part.
NODE_POOL = {
    "template": {
        "metadata": {"labels", "annotations"},
        "spec": {
            "nodeClassRef",
            "taints",
            "startupTaints",
            "requirements",
            "expireAfter",
            "terminationGracePeriod",
        },
    },
    "limits": None,
    "weight": None,
    "replicas": None,
    "disruption": {"consolidationPolicy", "consolidateAfter", "budgets"},
}
NODE_CLASS = {
    "amiFamily",
    "amiSelectorTerms",
    "associatePublicIPAddress",
    "blockDeviceMappings",
    "capacityReservationSelectorTerms",
    "context",
    "detailedMonitoring",
    "instanceProfile",
    "instanceStorePolicy",
    "kubelet",
    "metadataOptions",
    "role",
    "securityGroupSelectorTerms",
    "subnetSelectorTerms",
    "tags",
    "userData",
}


def read(path: Path) -> list[Manifest]:
    """The documents of a YAML file."""
    return [found for found in yaml.safe_load_all(path.read_text(encoding="utf-8")) if found]


def written() -> list[Manifest]:
    """Every manifest as it is written, before kustomize changes it."""
    files = sorted(f for f in KUBERNETES.glob("*/*.yaml") if f.name != "kustomization.yaml")
    found = [manifest for file in files for manifest in read(file)]
    return [manifest for manifest in found if "apiVersion" in manifest]


def built(folder: str) -> list[Manifest]:
    """What `kubectl apply -k` would send."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES / folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The one of a kind with a name."""
    [found] = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    return found


def problems(manifest: Manifest) -> Iterator[str]:
    """Keys that Kubernetes does not know, and what it asks for and is not there."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    if "karpenter" in group:
        return
    kind = version[0].upper() + version[1:] + manifest["kind"]
    yield from _unknown(getattr(client, kind), manifest, manifest["kind"])
    try:
        client.ApiClient().deserialize(SimpleNamespace(data=json.dumps(manifest)), kind)
    except (ValueError, TypeError) as error:
        yield f"{manifest['kind']} {manifest['metadata']['name']}: {error}"


def _unknown(model: Any, value: Manifest, where: str) -> Iterator[str]:
    types = {key: model.openapi_types[name] for name, key in model.attribute_map.items()}
    for key, inner in value.items():
        if key not in types:
            yield f"{where}.{key}"
            continue
        listed = re.fullmatch(r"list\[(\w+)\]", types[key])
        kind = getattr(client, listed[1] if listed else types[key], None)
        if kind is None or not hasattr(kind, "attribute_map"):
            continue
        for item in inner if listed else [inner]:
            yield from _unknown(kind, item, f"{where}.{key}")


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The pod of every workload, by its name."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec and "containers" in spec["template"]["spec"]:
            yield manifest["metadata"]["name"], spec["template"]["spec"]


def test_kubernetes_knows_every_manifest() -> None:
    found = written()
    assert {m["kind"] for m in found} >= {"Deployment", "StatefulSet", "NetworkPolicy", "CronJob"}
    assert [problem for manifest in found for problem in problems(manifest)] == []


def test_every_pod_is_confined_measured_and_probed() -> None:
    found = dict(pods(written()))
    assert set(found) == {"rag-service", "rag-exporter", "rag-backup", "chroma", "vllm"}
    for name, pod in found.items():
        # What the namespace's level `restricted` asks for; a pod without it is refused.
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        # Else a service named vllm or chroma sets VLLM_PORT or CHROMA_PORT in every pod.
        assert pod["enableServiceLinks"] is False, name
        [container] = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert {"requests", "limits"} <= set(container["resources"]), name
        assert "memory" in container["resources"]["limits"], name
        if container["image"] == "rag-assets":
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}, name
        if pod.get("restartPolicy") != "Never":
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), name
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        given = {volume["name"] for volume in pod["volumes"]} | {"data"}
        assert mounted <= given, name


def test_every_pod_has_its_network_policy() -> None:
    manifests = written()
    policies = [m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    chosen = {p["podSelector"].get("matchLabels", {}).get("app") for p in policies}
    assert {name for name, _ in pods(manifests)} <= chosen
    ports = {
        (policy["podSelector"].get("matchLabels", {}).get("app"), port["port"])
        for policy in policies
        for rule in policy.get("ingress", [])
        for port in rule.get("ports", [])
    }
    assert {("rag-service", 8080), ("rag-exporter", 9464), ("chroma", 8000)} <= ports
    for policy in policies:
        for rule in policy.get("egress", []):
            for target in rule.get("to", []):
                if "ipBlock" in target:
                    assert "169.254.0.0/16" in target["ipBlock"]["except"], "the cloud's metadata"


def test_the_service_scales_spreads_and_survives_drains() -> None:
    manifests = written()
    scaler = named(manifests, "HorizontalPodAutoscaler", "rag-service")["spec"]
    assert scaler["minReplicas"] >= 2
    assert "replicas" not in named(manifests, "Deployment", "rag-service")["spec"]
    assert named(manifests, "PodDisruptionBudget", "rag-service")["spec"]["maxUnavailable"] == 1
    pod = dict(pods(manifests))["rag-service"]
    spread = {rule["topologyKey"] for rule in pod["topologySpreadConstraints"]}
    assert spread == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    drained = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] + _DRAIN_SECONDS
    assert pod["terminationGracePeriodSeconds"] > drained


def test_the_gpu_nodes_speak_karpenters_current_api() -> None:
    manifests = read(KUBERNETES / "gpu" / "nodes.yaml")
    pool, nodes = (
        named(manifests, "NodePool", "rag-gpu"),
        named(manifests, "EC2NodeClass", "rag-gpu"),
    )
    assert pool["apiVersion"] == "karpenter.sh/v1"
    assert nodes["apiVersion"] == "karpenter.k8s.aws/v1"
    assert set(pool["spec"]) <= set(NODE_POOL)
    assert set(pool["spec"]["disruption"]) <= NODE_POOL["disruption"]  # type: ignore[operator]
    for part, known in NODE_POOL["template"].items():  # type: ignore[union-attr]
        assert set(pool["spec"]["template"][part]) <= known
    assert set(nodes["spec"]) <= NODE_CLASS
    template = pool["spec"]["template"]["spec"]
    assert template["nodeClassRef"] == {
        "group": "karpenter.k8s.aws",
        "kind": "EC2NodeClass",
        "name": "rag-gpu",
    }
    assert pool["spec"]["disruption"]["consolidationPolicy"] == "WhenEmpty"
    assert pool["spec"]["limits"]["nvidia.com/gpu"] >= 1
    for requirement in template["requirements"]:
        assert requirement["operator"] in {"In", "NotIn", "Gt", "Lt", "Exists", "DoesNotExist"}
        assert all(isinstance(value, str) for value in requirement["values"])
    [taint] = template["taints"]
    pod = dict(pods(written()))["vllm"]
    assert pod["tolerations"][0]["key"] == taint["key"]
    assert pod["nodeSelector"].items() <= pool["spec"]["template"]["metadata"]["labels"].items()


@needs_kubectl
@pytest.mark.parametrize("folder", ["base", "s3", "gpu"])
def test_kustomize_builds_what_kubernetes_knows(folder: str) -> None:
    found = built(folder)
    assert [problem for manifest in found for problem in problems(manifest)] == []
    spaces = {m["metadata"].get("namespace", m["kind"]) for m in found}
    assert spaces <= {"rag", "Namespace", "NodePool", "EC2NodeClass"}
    for name, pod in pods(found):
        for container in pod["containers"]:
            assert re.search(r":v?\d+\.\d+\.\d+$", container["image"]), f"{name}: an image moves"


@needs_kubectl
def test_with_the_storage_in_s3_no_volume_is_shared() -> None:
    found = built("s3")
    assert not {m["kind"] for m in found} & {"PersistentVolumeClaim", "CronJob"}
    for _, pod in pods(found):
        assert all("persistentVolumeClaim" not in volume for volume in pod["volumes"])
    text = named(found, "ConfigMap", "rag-config")["data"]["knowledge_base.yaml"]
    assert yaml.safe_load(text)["storage"].startswith("s3://")


@needs_kubectl
def test_the_chroma_component_joins_the_base(tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes" / "mine"
    overlay.mkdir()
    settings = {"namespace": "rag", "resources": ["../base"], "components": ["../chroma"]}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(settings))
    found = built(str(overlay))
    assert named(found, "StatefulSet", "chroma")["metadata"]["namespace"] == "rag"
    assert [problem for manifest in found for problem in problems(manifest)] == []


def test_the_example_configurations_load(tmp_path: Path) -> None:
    for folder in ("base", "s3"):
        file = tmp_path / folder / "knowledge_base.yaml"
        file.parent.mkdir()
        file.write_text((KUBERNETES / folder / "knowledge_base.yaml").read_text("utf-8"))
        config = load_config(file)
        assert config.costs.budget_usd == 50
        assert not config.notify.active


def test_runs_are_launched_as_the_chart_would() -> None:
    """Dagster's own launcher reads what the chart hands on from the values."""
    dagster_k8s = pytest.importorskip("dagster_k8s.container_context")
    values = yaml.safe_load((KUBERNETES / "dagster-values.yaml").read_text(encoding="utf-8"))
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    [deployment] = values["dagster-user-deployments"]["deployments"]
    config = launcher["runK8sConfig"]
    context = dagster_k8s.K8sContainerContext.create_from_config(
        {
            "k8s": {
                "resources": launcher["resources"],
                "security_context": launcher["securityContext"],
                "volumes": deployment["volumes"],
                "volume_mounts": deployment["volumeMounts"],
                "env_secrets": [secret["name"] for secret in deployment["envSecrets"]],
                "run_k8s_config": {
                    "pod_spec_config": config["podSpecConfig"],
                    "pod_template_spec_metadata": config["podTemplateSpecMetadata"],
                    "job_spec_config": config["jobSpecConfig"],
                },
            }
        }
    )
    run = context.run_k8s_config
    assert run.pod_spec_config["security_context"]["run_as_non_root"] is True
    assert run.job_spec_config["ttl_seconds_after_finished"] == 86400
    data, _ = run.pod_spec_config["volumes"]
    assert data["persistent_volume_claim"]["claim_name"] == "rag-data"
    assert deployment["codeServerArgs"] == ["-m", "rag_assets.definitions"]
    retries = values["dagsterDaemon"]["runRetries"]
    assert retries["retryOnAssetOrOpFailure"] is False, "a refusal is not tried again"
    namespace = named(written(), "Namespace", "rag")["metadata"]["labels"]
    if namespace["pod-security.kubernetes.io/enforce"] == "restricted":
        for part in (values["dagsterWebserver"], values["dagsterDaemon"], deployment):
            assert part["podSecurityContext"]["runAsNonRoot"] is True
            assert part["securityContext"]["capabilities"] == {"drop": ["ALL"]}
