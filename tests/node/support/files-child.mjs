// files-child.mjs FOLDER append|count: a process of files.test.mjs'.
//   append  appends records for ever and prints each one's index once it is on the medium
//   count   twenty times: becomes the folder's owner, adds one to the number in account.key, and gives the folder back
import { appendForEver } from '../../e2e/support/files-contract.mjs';
import { openFiles } from '../../../glue/files-node.mjs';
import { writeSync } from 'node:fs';

const [folder, task] = process.argv.slice(2);
if (task === 'append') {
  const files = await openFiles(folder);
  writeSync(1, 'open\n');
  await appendForEver(files, (index) => void writeSync(1, `${index}\n`));
} else {
  for (let done = 0; done < 20; ) {
    let files;
    try {
      files = await openFiles(folder);
    } catch (error) {
      if (error.code !== 'store_busy') throw error;
      continue;
    }
    const fd = files.open('account.key', 1);
    const bytes = new Uint8Array(4);
    files.read(fd, bytes, 0);
    const view = new DataView(bytes.buffer);
    const n = view.getUint32(0) + 1;
    await new Promise((resolve) => setTimeout(resolve, 5));
    view.setUint32(0, n);
    files.write(fd, bytes, 0);
    await files.close();
    done += 1;
  }
}
