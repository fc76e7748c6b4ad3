import { VarveError } from '../errors.js'
import { requireApi } from './api-availability.js'
import { type ApiTransport, openApiTransport } from './api-transport.js'
import type * as api from './api-types.js'
import { assertResourceId } from './resource-id.js'
import { type FirecrackerVersion, parseFirecrackerVersion } from './version.js'

/** Options of every call. */
export interface CallOptions {
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Typed client of one Firecracker process. Each method is one API call with Firecracker's own field
 * names; a field or call that the version lacks throws VERSION_UNSUPPORTED before anything is sent. An
 * error answer is API_REFUSED with Firecracker's words in the message and in `details.faultMessage`; a
 * broken socket is API_TRANSPORT.
 */
export interface ApiClient extends Disposable {
  /** The API socket. */
  readonly socketPath: string
  /** The release that answers there. */
  readonly version: FirecrackerVersion
  /** GET /. */
  instanceInfo(options?: CallOptions): Promise<api.InstanceInfo>
  /** GET /vm/config. */
  vmConfig(options?: CallOptions): Promise<api.FullVmConfiguration>
  /** GET /machine-config. */
  machineConfig(options?: CallOptions): Promise<api.MachineConfiguration>
  /** PUT /machine-config. */
  putMachineConfig(body: api.MachineConfiguration, options?: CallOptions): Promise<void>
  /** PATCH /machine-config. */
  patchMachineConfig(body: Partial<api.MachineConfiguration>, options?: CallOptions): Promise<void>
  /** PUT /boot-source. */
  putBootSource(body: api.BootSource, options?: CallOptions): Promise<void>
  /** PUT /cpu-config. */
  putCpuConfig(body: Readonly<Record<string, unknown>>, options?: CallOptions): Promise<void>
  /** PUT /drives/{id}. */
  putDrive(body: api.Drive, options?: CallOptions): Promise<void>
  /** PATCH /drives/{id}. */
  patchDrive(body: api.PartialDrive, options?: CallOptions): Promise<void>
  /** DELETE /drives/{id}. */
  deleteDrive(id: string, options?: CallOptions): Promise<void>
  /** PUT /network-interfaces/{id}. */
  putNetworkInterface(body: api.NetworkInterface, options?: CallOptions): Promise<void>
  /** PATCH /network-interfaces/{id}. */
  patchNetworkInterface(body: api.PartialNetworkInterface, options?: CallOptions): Promise<void>
  /** DELETE /network-interfaces/{id}. */
  deleteNetworkInterface(id: string, options?: CallOptions): Promise<void>
  /** PUT /vsock. */
  putVsock(body: api.Vsock, options?: CallOptions): Promise<void>
  /** PUT /mmds/config. */
  putMmdsConfig(body: api.MmdsConfig, options?: CallOptions): Promise<void>
  /** PUT /mmds. */
  putMmds(body: object, options?: CallOptions): Promise<void>
  /** PATCH /mmds. */
  patchMmds(body: object, options?: CallOptions): Promise<void>
  /** GET /mmds. */
  mmds(options?: CallOptions): Promise<unknown>
  /** PUT /balloon. */
  putBalloon(body: api.Balloon, options?: CallOptions): Promise<void>
  /** PATCH /balloon. */
  patchBalloon(body: api.BalloonUpdate, options?: CallOptions): Promise<void>
  /** GET /balloon. */
  balloon(options?: CallOptions): Promise<api.Balloon>
  /** PATCH /balloon/statistics. */
  patchBalloonStatistics(body: api.BalloonStatsUpdate, options?: CallOptions): Promise<void>
  /** GET /balloon/statistics. */
  balloonStatistics(options?: CallOptions): Promise<Readonly<Record<string, number>>>
  /** PATCH /balloon/hinting/start. */
  startBalloonHinting(body: api.BalloonHintingStart, options?: CallOptions): Promise<void>
  /** PATCH /balloon/hinting/stop. */
  stopBalloonHinting(options?: CallOptions): Promise<void>
  /** GET /balloon/hinting/status. */
  balloonHintingStatus(options?: CallOptions): Promise<Readonly<Record<string, unknown>>>
  /** PUT /entropy. */
  putEntropy(body: api.Entropy, options?: CallOptions): Promise<void>
  /** PUT /serial. */
  putSerial(body: api.Serial, options?: CallOptions): Promise<void>
  /** PUT /pmem/{id}. */
  putPmem(body: api.Pmem, options?: CallOptions): Promise<void>
  /** PATCH /pmem/{id}. */
  patchPmem(body: api.PartialPmem, options?: CallOptions): Promise<void>
  /** DELETE /pmem/{id}. */
  deletePmem(id: string, options?: CallOptions): Promise<void>
  /** PUT /hotplug/memory. */
  putHotplugMemory(body: api.HotplugMemory, options?: CallOptions): Promise<void>
  /** PATCH /hotplug/memory. */
  patchHotplugMemory(body: api.HotplugMemoryUpdate, options?: CallOptions): Promise<void>
  /** GET /hotplug/memory. */
  hotplugMemory(options?: CallOptions): Promise<Readonly<Record<string, number>>>
  /** PUT /logger. */
  putLogger(body: api.Logger, options?: CallOptions): Promise<void>
  /** PUT /metrics. */
  putMetrics(body: api.Metrics, options?: CallOptions): Promise<void>
  /** PUT /actions: InstanceStart. */
  startInstance(options?: CallOptions): Promise<void>
  /** PUT /actions: SendCtrlAltDel. */
  sendCtrlAltDel(options?: CallOptions): Promise<void>
  /** PUT /actions: FlushMetrics. */
  flushMetrics(options?: CallOptions): Promise<void>
  /** PATCH /vm: Paused. */
  pause(options?: CallOptions): Promise<void>
  /** PATCH /vm: Resumed. */
  resume(options?: CallOptions): Promise<void>
  /** PUT /snapshot/create. */
  createSnapshot(body: api.SnapshotCreate, options?: CallOptions): Promise<void>
  /** PUT /snapshot/load. */
  loadSnapshot(body: api.SnapshotLoad, options?: CallOptions): Promise<void>
}

/** Connects, asks the version, and returns a client gated by it. */
export async function connectApi(socketPath: string, options: CallOptions = {}): Promise<ApiClient> {
  const transport = openApiTransport(socketPath)
  try {
    const answer = (await call(transport, 'GET', '/version', undefined, options)) as {
      firecracker_version?: unknown
    }
    if (typeof answer?.firecracker_version !== 'string')
      throw new VarveError('FORMAT_INVALID', `GET /version on ${socketPath} has no firecracker_version`)
    return createApiClient(transport, socketPath, parseFirecrackerVersion(answer.firecracker_version))
  } catch (error) {
    transport[Symbol.dispose]()
    throw error
  }
}

/** The client over an open transport; `connectApi` is the usual way in. */
function createApiClient(
  transport: ApiTransport,
  socketPath: string,
  version: FirecrackerVersion,
): ApiClient {
  // `template` is the path as api-availability.ts writes it; an id is checked
  // before it becomes part of the path.
  const send = (method: string, template: string, body?: object, options?: CallOptions, id?: string) => {
    requireApi(`${method} ${template}`, body, version)
    return call(
      transport,
      method,
      id === undefined ? template : template.replace('{id}', assertResourceId('id', id)),
      body,
      options,
    )
  }
  const get =
    <T>(path: string) =>
    (options?: CallOptions) =>
      send('GET', path, undefined, options) as Promise<T>
  const set =
    <B extends object>(method: 'PUT' | 'PATCH', path: string) =>
    async (body: B, options?: CallOptions): Promise<void> =>
      void (await send(method, path, body, options))
  const action = (type: string) => async (options?: CallOptions) =>
    void (await send('PUT', '/actions', { action_type: type }, options))
  const vmState = (state: string) => async (options?: CallOptions) =>
    void (await send('PATCH', '/vm', { state }, options))
  const setById =
    <B extends object>(method: 'PUT' | 'PATCH', path: string, idOf: (body: B) => string) =>
    async (body: B, options?: CallOptions): Promise<void> =>
      void (await send(method, path, body, options, idOf(body)))
  const remove = (path: string) => async (id: string, options?: CallOptions) =>
    void (await send('DELETE', path, undefined, options, id))

  return {
    socketPath,
    version,
    instanceInfo: get('/'),
    vmConfig: get('/vm/config'),
    machineConfig: get('/machine-config'),
    putMachineConfig: set('PUT', '/machine-config'),
    patchMachineConfig: set('PATCH', '/machine-config'),
    putBootSource: set('PUT', '/boot-source'),
    putCpuConfig: set('PUT', '/cpu-config'),
    putDrive: setById('PUT', '/drives/{id}', (body: api.Drive) => body.drive_id),
    patchDrive: setById('PATCH', '/drives/{id}', (body: api.PartialDrive) => body.drive_id),
    deleteDrive: remove('/drives/{id}'),
    putNetworkInterface: setById(
      'PUT',
      '/network-interfaces/{id}',
      (body: api.NetworkInterface) => body.iface_id,
    ),
    patchNetworkInterface: setById(
      'PATCH',
      '/network-interfaces/{id}',
      (body: api.PartialNetworkInterface) => body.iface_id,
    ),
    deleteNetworkInterface: remove('/network-interfaces/{id}'),
    putVsock: set('PUT', '/vsock'),
    putMmdsConfig: set('PUT', '/mmds/config'),
    putMmds: set('PUT', '/mmds'),
    patchMmds: set('PATCH', '/mmds'),
    mmds: get('/mmds'),
    putBalloon: set('PUT', '/balloon'),
    patchBalloon: set('PATCH', '/balloon'),
    balloon: get('/balloon'),
    patchBalloonStatistics: set('PATCH', '/balloon/statistics'),
    balloonStatistics: get('/balloon/statistics'),
    startBalloonHinting: set('PATCH', '/balloon/hinting/start'),
    stopBalloonHinting: async (options) =>
      void (await send('PATCH', '/balloon/hinting/stop', undefined, options)),
    balloonHintingStatus: get('/balloon/hinting/status'),
    putEntropy: set('PUT', '/entropy'),
    putSerial: set('PUT', '/serial'),
    putPmem: setById('PUT', '/pmem/{id}', (body: api.Pmem) => body.id),
    patchPmem: setById('PATCH', '/pmem/{id}', (body: api.PartialPmem) => body.id),
    deletePmem: remove('/pmem/{id}'),
    putHotplugMemory: set('PUT', '/hotplug/memory'),
    patchHotplugMemory: set('PATCH', '/hotplug/memory'),
    hotplugMemory: get('/hotplug/memory'),
    putLogger: set('PUT', '/logger'),
    putMetrics: set('PUT', '/metrics'),
    startInstance: action('InstanceStart'),
    sendCtrlAltDel: action('SendCtrlAltDel'),
    flushMetrics: action('FlushMetrics'),
    pause: vmState('Paused'),
    resume: vmState('Resumed'),
    createSnapshot: set('PUT', '/snapshot/create'),
    loadSnapshot: set('PUT', '/snapshot/load'),
    [Symbol.dispose]: () => transport[Symbol.dispose](),
  }
}

async function call(
  transport: ApiTransport,
  method: string,
  path: string,
  body: object | undefined,
  options: CallOptions = {},
): Promise<unknown> {
  const response = await transport.exchange(method, path, body, options)
  if (response.status >= 200 && response.status < 300) return response.body
  const faultMessage = faultOf(response.body)
  throw new VarveError('API_REFUSED', `${method} ${path} answered ${response.status}: ${faultMessage}`, {
    details: { method, path, status: response.status, faultMessage },
  })
}

/** Semantic errors carry `fault_message`, HTTP-level ones (framing, size, connection count) carry `error`. */
function faultOf(body: unknown): string {
  if (typeof body === 'object' && body !== null) {
    const { fault_message: fault, error } = body as { fault_message?: unknown; error?: unknown }
    if (typeof fault === 'string') return fault
    if (typeof error === 'string') return error
  }
  return body === undefined ? 'no message' : JSON.stringify(body).slice(0, 500)
}
