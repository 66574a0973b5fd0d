// main.mjs: the patient's page. Takes the secret out of the address bar before anything else, then shows the app.
import { App } from '../common/app.mjs';
import { browserStores, takeFragment } from '../common/page.mjs';
import { PatientView } from './patient-view.mjs';

const fragment = takeFragment();
const app = new App({
  stores: browserStores('patient'),
  kinds: ['patient'],
  fragment,
  relay: location.origin,
  alone: true,
});
for (const view of document.querySelectorAll('sotto-patient')) {
  if (view instanceof PatientView) view.model = app;
}
void app.start();
