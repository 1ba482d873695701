using System.Security.Cryptography;

namespace LoraNotebooks.Hub;

/// <summary>Fetches one file: goes on where an earlier attempt ended, and accepts nothing but the length and the checksum that were announced.</summary>
internal sealed class BlobDownload : IAsyncDisposable
{
    private const int BufferSize = 1 << 18;

    // A server that sends this much before it fails gets a new set of attempts.
    private const long WorthwhileBytes = 1 << 20;
    private const int MostMismatches = 2;

    private readonly HubHttp _http;
    private readonly RepositoryApi _api;
    private readonly RemoteFile _file;
    private readonly DownloadMeter _meter;
    private readonly byte[] _buffer = new byte[BufferSize];
    private readonly FileStream _stream;
    private IncrementalHash _hash;

    /// <summary>Opens the file that grows until it is whole.</summary>
    /// <param name="http">The connection.</param>
    /// <param name="api">Explains the answers.</param>
    /// <param name="file">What to fetch.</param>
    /// <param name="path">The incomplete file; what it holds is kept.</param>
    /// <param name="meter">Told how the file grows.</param>
    public BlobDownload(HubHttp http, RepositoryApi api, RemoteFile file, string path, DownloadMeter meter)
    {
        (_http, _api, _file, _meter) = (http, api, file, meter);
        _stream = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 0, FileOptions.Asynchronous);
        _hash = file.Checksum.Begin();
    }

    /// <summary>Fetches what is missing, and checks the whole.</summary>
    /// <exception cref="HubException">The server cannot be reached, refuses, or sends something else.</exception>
    public async Task RunAsync(Attempts attempts, CancellationToken cancellation)
    {
        await AppendEarlierBytesAsync(cancellation).ConfigureAwait(false);
        for (var mismatches = 0; ;)
        {
            var before = _stream.Position;
            try
            {
                if (_stream.Position < _file.Size)
                {
                    await ReceiveAsync(cancellation).ConfigureAwait(false);
                }

                if (_file.Checksum.Fits(_hash, out var got))
                {
                    _stream.Flush(flushToDisk: true);
                    return;
                }

                BeginAnew();
                var message = $"'{Printable.Text(_file.Name)}' has the checksum {got}; expected {_file.Checksum.Expected}.";
                throw ++mismatches < MostMismatches
                    ? new TransientFaultException(HubFailure.Damaged, message)
                    : new HubException(
                        HubFailure.Damaged,
                        $"{message} It was fetched anew and still is not the file. A proxy or a mirror may be changing it: "
                            + "try without it (HF_ENDPOINT, HTTPS_PROXY).");
            }
            catch (TransientFaultException fault)
            {
                if (_stream.Position - before >= WorthwhileBytes)
                {
                    attempts.Renew();
                }

                await attempts.AfterAsync(fault, cancellation).ConfigureAwait(false);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        _hash.Dispose();
        await _stream.DisposeAsync().ConfigureAwait(false);
    }

    private async Task AppendEarlierBytesAsync(CancellationToken cancellation)
    {
        if (_stream.Length > _file.Size)
        {
            _stream.SetLength(0);
        }

        int count;
        while ((count = await _stream.ReadAsync(_buffer, cancellation).ConfigureAwait(false)) > 0)
        {
            _hash.AppendData(_buffer, 0, count);
        }

        _meter.Found(_stream.Position);
    }

    /// <summary>Asks for the rest of the file and appends it.</summary>
    private async Task ReceiveAsync(CancellationToken cancellation)
    {
        var from = _stream.Position;
        using var response = await _http.SendAsync(HttpMethod.Get, _file.Address, from, cancellation: cancellation).ConfigureAwait(false);
        switch ((int)response.StatusCode)
        {
            case 206 when response.Content.Headers.ContentRange is { From: { } start } range && start == from && (range.Length ?? _file.Size) == _file.Size:
                break;
            case 206 or 416:
                BeginAnew();
                throw Damaged(
                    $"is not served from byte {from} of {_file.Size} on, "
                        + $"as was asked (it has {response.Content.Headers.ContentRange?.ToString() ?? "no range"})");
            case 200:
                // The server cannot serve ranges: this is the whole file.
                BeginAnew();
                break;
            default:
                _api.ThrowIfRefused(response, _file.Name);
                throw Damaged($"is answered with {(int)response.StatusCode}");
        }

        var expected = _file.Size - _stream.Position;
        if (response.Content.Headers.ContentEncoding.Count > 0 || response.Content.Headers.ContentLength is { } announced && announced != expected)
        {
            throw Damaged(
                $"is announced with {response.Content.Headers.ContentLength} bytes {string.Join(',', response.Content.Headers.ContentEncoding)}".TrimEnd()
                    + $"; expected {expected} bytes as they are");
        }

        await CopyAsync(response, cancellation).ConfigureAwait(false);
    }

    private async Task CopyAsync(HttpResponseMessage response, CancellationToken cancellation)
    {
        using var content = await response.Content.ReadAsStreamAsync(cancellation).ConfigureAwait(false);
        while (true)
        {
            var count = await ReadAsync(content, cancellation).ConfigureAwait(false);
            if (_stream.Position + count > _file.Size)
            {
                BeginAnew();
                throw Damaged($"goes on after its {_file.Size} bytes");
            }

            if (count == 0)
            {
                if (_stream.Position < _file.Size)
                {
                    throw Ended();
                }

                return;
            }

            await _stream.WriteAsync(_buffer.AsMemory(0, count), cancellation).ConfigureAwait(false);
            _hash.AppendData(_buffer, 0, count);
            _meter.Advance(count);
        }
    }

    private async Task<int> ReadAsync(Stream content, CancellationToken cancellation)
    {
        using var silence = _http.Await(cancellation);
        try
        {
            return await content.ReadAsync(_buffer, silence.Token).ConfigureAwait(false);
        }
        catch (Exception error)
            when (error is HttpRequestException or IOException || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            throw Ended(error);
        }
    }

    private void BeginAnew()
    {
        _meter.Found(-_stream.Position);
        _stream.SetLength(0);
        _hash.Dispose();
        _hash = _file.Checksum.Begin();
    }

    private TransientFaultException Damaged(string what) => new(HubFailure.Damaged, $"'{Printable.Text(_file.Name)}' {what}.");

    private TransientFaultException Ended(Exception? inner = null) =>
        new(HubFailure.Unreachable, $"The connection for '{Printable.Text(_file.Name)}' ended after {_stream.Position} of {_file.Size} bytes.", inner: inner);
}
