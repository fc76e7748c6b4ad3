import { afterEach, beforeEach, describe } from 'vitest'
import { storeTransfer } from './archives-and-sets.js'
import { storeCollection } from './collection.js'
import { storeLayers } from './layers.js'
import { storeNames } from './names.js'
import { type StoreUnderTest, withQuestions } from './store-under-test.js'

/** What every snapshot store must do. */
export function storeConformance(name: string, make: () => Promise<StoreUnderTest>): void {
  describe(`${name} keeps snapshots`, () => {
    let it: StoreUnderTest
    beforeEach(async () => {
      it = await make()
    })
    afterEach(() => it.close())
    for (const suite of [storeNames, storeCollection, storeLayers, storeTransfer])
      suite(() => withQuestions(it, make))
  })
}
