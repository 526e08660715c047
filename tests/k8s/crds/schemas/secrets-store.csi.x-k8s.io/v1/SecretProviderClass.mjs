// What the CRD of the Secrets Store CSI driver (v1) has in its spec; no package on npm has it.

const TEXT = (value) => typeof value === "string";
const MAP = (value) => Object.values(value).every(TEXT);
const ENTRY = { key: TEXT, objectName: TEXT };
const SECRET = { secretName: TEXT, type: TEXT, labels: MAP, annotations: MAP, data: [ENTRY] };
const OBJECT = {
  apiVersion: TEXT,
  kind: TEXT,
  metadata: (value) => JSON.stringify(value) !== "", // looks at all of it
  spec: { provider: TEXT, parameters: MAP, secretObjects: [SECRET] },
};

function* problems(value, shape, path) {
  if (Array.isArray(shape)) {
    if (!Array.isArray(value)) yield { instancePath: path, message: "must be a list" };
    else for (const [index, each] of value.entries()) yield* problems(each, shape[0], `${path}/${index}`);
  } else if (typeof shape === "function") {
    if (!shape(value)) yield { instancePath: path, message: "is not of its type" };
  } else if (value === null || typeof value !== "object") {
    yield { instancePath: path, message: "must be an object" };
  } else {
    for (const [key, inner] of Object.entries(shape)) {
      if (value[key] !== undefined) yield* problems(value[key], inner, `${path}/${key}`);
    }
  }
}

export function validate(object) {
  validate.errors = [...problems(object, OBJECT, "")];
  if (!object.spec?.provider) validate.errors.push({ instancePath: "/spec", message: "must name its provider" });
  return validate.errors.length === 0;
}
