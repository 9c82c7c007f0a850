// The client that people use: node tus_client.cjs PACKAGE-FOLDER ENDPOINT FILE SCENARIO
// Prints what it was told at the end as one line of JSON.
const fs = require("fs");
const { Readable } = require("stream");
const [folder, endpoint, file, scenario] = process.argv.slice(2);
const tus = require(require.resolve("tus-js-client", { paths: [folder] }));

const content = fs.readFileSync(file);
const patient = { endpoint, retryDelays: Array(100).fill(200), metadata: { filename: scenario } };
const told = { retries: 0, url: null };

function upload(input, options) {
  return new Promise((resolve, reject) => {
    const running = new tus.Upload(input, {
      ...patient,
      ...options,
      onShouldRetry: () => { told.retries += 1; return true; },
      onSuccess: () => resolve(running),
      onError: reject,
    });
    running.start();
  });
}

const scenarios = {
  whole: () => upload(content, {}),
  chunks: () => upload(content, { chunkSize: 300000 }),
  early: () => upload(content, { uploadDataDuringCreation: true }),
  deferred: () => upload(Readable.from([content], { objectMode: false }), {
    uploadLengthDeferred: true, chunkSize: 300000,
  }),
  parallel: () => upload(content, { parallelUploads: 3 }),
  override: () => upload(content, { overridePatchMethod: true }),
  // Paused by the user in the middle, and taken up by another page that knows the address only.
  paused: async () => {
    const url = await new Promise((resolve, reject) => {
      const first = new tus.Upload(content, {
        ...patient, chunkSize: 300000, onError: reject,
        onChunkComplete: () => first.abort().then(() => resolve(first.url)),
      });
      first.start();
    });
    return upload(content, { uploadUrl: url });
  },
  given_up: () => new Promise((resolve, reject) => {
    const running = new tus.Upload(content, {
      ...patient, chunkSize: 300000, onError: reject,
      onChunkComplete: () => running.abort(true).then(() => resolve(running)),
    });
    running.start();
  }),
};

scenarios[scenario]().then((running) => {
  told.url = running.url;
  console.log(JSON.stringify(told));
}).catch((error) => {
  console.error(String(error));
  process.exit(1);
});
