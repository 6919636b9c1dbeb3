// Makes ladders of renditions with sharp, as its documentation shows it: one input, cloned for each output.
// Reads lines of JSON from stdin, {file, sides, quality, count, into}; says what they took in seconds. Two ladders are
// under way at any time; the last one's files go to `into`, if that is given.

const { readFile, writeFile } = require("node:fs/promises");
const { createInterface } = require("node:readline");
const sharp = require("sharp");

sharp.cache(false);

async function ladder(file, sides, quality) {
  const picture = sharp(await readFile(file), { limitInputPixels: false });
  const outputs = sides.map((side) =>
    picture
      .clone()
      .rotate()
      .resize(side, side, { fit: "inside", withoutEnlargement: true })
      .webp({ quality })
      .toBuffer(),
  );
  return Promise.all(outputs);
}

async function ladders({ file, sides, quality, count, into }) {
  const begin = process.hrtime.bigint();
  let bodies;
  let left = count;
  const lane = async () => {
    while (left-- > 0) bodies = await ladder(file, sides, quality);
  };
  await Promise.all([lane(), lane()]);
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  if (into) await Promise.all(bodies.map((body, i) => writeFile(`${into}/${sides[i]}.webp`, body)));
  return seconds;
}

async function main() {
  for await (const line of createInterface({ input: process.stdin })) {
    const answer = await ladders(JSON.parse(line)).then(
      (seconds) => ({ seconds }),
      (error) => ({ error: error.message }),
    );
    console.log(JSON.stringify(answer));
  }
}

main();
