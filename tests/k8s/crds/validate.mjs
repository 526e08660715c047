// Reads custom resources as a JSON list, checks each with the schema that npm's @kubernetes-models have of its kind, or
// with ours in schemas/, and writes what is wrong as a JSON list of lines.
//
// The packages' schemas let fields pass that they do not know. A field that a schema never looks at is one that it does
// not know: so each object is handed over in a wrapping that notes what is looked at.

import { existsSync, readFileSync } from "node:fs";

const PACKAGES = {
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
};

function watched(value, path, seen) {
  if (value === null || typeof value !== "object") return value;
  const note = (key) => typeof key === "string" && seen.add(`${path}.${key}`);
  return new Proxy(value, {
    get(target, key) {
      if (!Object.hasOwn(target, key)) return target[key];
      note(key);
      return watched(target[key], `${path}.${key}`, seen);
    },
    // A map whose keys may be any is gone through; what is gone through is known.
    ownKeys(target) {
      Reflect.ownKeys(target).forEach(note);
      return Reflect.ownKeys(target);
    },
  });
}

function* fields(value, path) {
  if (value === null || typeof value !== "object") return;
  for (const [key, each] of Object.entries(value)) {
    if (!Array.isArray(value)) yield `${path}.${key}`;
    yield* fields(each, `${path}.${key}`);
  }
}

// Azure Monitor's are the Prometheus operator's, under a name of its own.
const SAME = { "azmonitoring.coreos.com": "monitoring.coreos.com" };

async function schemaOf(object) {
  const [said, version] = object.apiVersion.split("/");
  const group = SAME[said] ?? said;
  const name = PACKAGES[group];
  const ours = new URL(`schemas/${group}/${version}/${object.kind}.mjs`, import.meta.url);
  if (existsSync(ours)) return (await import(ours)).validate;
  const home = new URL(`node_modules/@kubernetes-models/${name}/`, import.meta.url);
  const models = new URL(`${group}/${version}/${object.kind}.js`, home);
  if (!name || !existsSync(models)) return undefined;
  const [, file] = readFileSync(models, "utf8").match(/from"(\.\.[^"]*_schemas\/[^"]+)"/);
  return (await import(new URL(file, models))).validate;
}

async function problemsOf(object) {
  const name = `${object.kind}/${object.metadata.name}`;
  const validate = await schemaOf(object);
  if (!validate) return [`${name}: nobody knows the kind ${object.kind} of ${object.apiVersion}`];
  const seen = new Set();
  const [said, version] = object.apiVersion.split("/");
  const known = { ...object, apiVersion: `${SAME[said] ?? said}/${version}` };
  const fits = validate(watched(known, "", seen));
  const problems = fits ? [] : validate.errors.map((each) => `${name}: ${each.instancePath}: ${each.message ?? JSON.stringify(each.params)}`);
  const unknown = [...fields(object, "")].filter((path) => !seen.has(path));
  return [...problems, ...unknown.map((path) => `${name}: the field ${path.slice(1)} is unknown`)];
}

const objects = JSON.parse(readFileSync(0, "utf8"));
const problems = (await Promise.all(objects.map(problemsOf))).flat();
process.stdout.write(JSON.stringify(problems));
