// main.mjs: the staff page. Takes a link's secret out of the address bar before anything else, then shows the console.
import { browserStores, takeFragment } from '../common/page.mjs';
import { Console } from './console.mjs';
import { StaffView } from './staff-view.mjs';

const fragment = takeFragment();
const app = new Console({
  stores: browserStores('staff'),
  kinds: ['staff'],
  fragment,
  relay: location.origin,
});
for (const view of document.querySelectorAll('sotto-staff')) {
  if (view instanceof StaffView) view.model = app;
}
void app.start();
