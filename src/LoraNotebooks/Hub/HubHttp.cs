using System.Net;
using System.Net.Http.Headers;

namespace LoraNotebooks.Hub;

/// <summary>Requests to the hub: which hosts are told the token, which redirects are followed, which faults are worth another attempt.</summary>
internal sealed class HubHttp : IDisposable
{
    private const int MostRedirects = 10;

    private readonly HubSettings _settings;
    private readonly TimeProvider _time;
    private readonly HttpClient _client;

    public HubHttp(HubSettings settings, TimeProvider time, HttpMessageHandler? network)
    {
        (_settings, _time) = (settings, time);
        _client = new HttpClient(network ?? new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            ConnectTimeout = Silence.Longest,
            PooledConnectionLifetime = TimeSpan.FromMinutes(5),
        })
        { Timeout = Timeout.InfiniteTimeSpan };
        _client.DefaultRequestHeaders.UserAgent.ParseAdd("lora-notebooks/0.1");
        // Lengths and ranges are those of the file, not of a compressed form.
        _client.DefaultRequestHeaders.AcceptEncoding.ParseAdd("identity");
    }

    /// <summary>Sends a request and follows redirects; the answer's content is still to be read.</summary>
    /// <param name="method">The method, kept on a redirect.</param>
    /// <param name="address">The address.</param>
    /// <param name="from">The first byte wanted; 0 asks for the whole file.</param>
    /// <param name="follow">Whether an answer that is a redirect is followed; default: all are.</param>
    /// <param name="cancellation">Ends the request.</param>
    /// <exception cref="TransientFaultException">The server is busy, or the connection failed.</exception>
    /// <exception cref="HubException">The network must not be used, there is no such host, or a redirect is not safe.</exception>
    public async Task<HttpResponseMessage> SendAsync(
        HttpMethod method,
        Uri address,
        long from = 0,
        Func<HttpResponseMessage, bool>? follow = null,
        CancellationToken cancellation = default)
    {
        if (_settings.Offline)
        {
            throw new HubException(
                HubFailure.Offline,
                $"'{Printable.Address(address)}' was not asked: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set. Unset it to use the network.");
        }

        for (var hop = 0; hop <= MostRedirects; hop++)
        {
            var response = await SendOnceAsync(method, address, from, cancellation).ConfigureAwait(false);
            if (!IsRedirect(response) || follow?.Invoke(response) == false)
            {
                return response;
            }

            using (response)
            {
                address = Redirected(address, response.Headers.Location!);
            }
        }

        throw new HubException(
            HubFailure.Unreachable,
            $"'{Printable.Address(address)}' leads on after {MostRedirects} redirects; expected a file. Check HF_ENDPOINT.");
    }

    /// <summary>Waits for the server of this connection; see <see cref="Silence"/>.</summary>
    public Silence Await(CancellationToken cancellation) => new(_time, cancellation);

    public void Dispose() => _client.Dispose();

    /// <summary>Whether an answer only names another address.</summary>
    public static bool IsRedirect(HttpResponseMessage response) =>
        response.StatusCode is HttpStatusCode.MovedPermanently or HttpStatusCode.Found
            or HttpStatusCode.SeeOther or HttpStatusCode.TemporaryRedirect or HttpStatusCode.PermanentRedirect
        && response.Headers.Location is not null;

    private async Task<HttpResponseMessage> SendOnceAsync(HttpMethod method, Uri address, long from, CancellationToken cancellation)
    {
        using var request = new HttpRequestMessage(method, address);
        if (from > 0)
        {
            request.Headers.Range = new RangeHeaderValue(from, null);
        }

        if (_settings.Token is { } token && MayHaveToken(address))
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token.Value);
        }

        using var silence = Await(cancellation);
        HttpResponseMessage response;
        try
        {
            response = await _client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, silence.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new TransientFaultException(
                HubFailure.Unreachable, $"'{Printable.Address(address)}' did not answer within {Silence.Longest.TotalSeconds} seconds.");
        }
        catch (HttpRequestException error)
            when (error.HttpRequestError is HttpRequestError.NameResolutionError or HttpRequestError.SecureConnectionError or HttpRequestError.ProxyTunnelError)
        {
            throw new HubException(
                HubFailure.Unreachable,
                $"'{address.Host}' cannot be reached: {error.Message} Check the network, HF_ENDPOINT and HTTPS_PROXY. "
                    + "With HF_HUB_OFFLINE=1 only the cache is used.",
                error);
        }
        catch (HttpRequestException error)
        {
            throw new TransientFaultException(HubFailure.Unreachable, $"'{Printable.Address(address)}' cannot be reached: {error.Message}", inner: error);
        }

        if ((int)response.StatusCode is not (408 or 429 or 500 or 502 or 503 or 504))
        {
            return response;
        }

        using (response)
        {
            throw new TransientFaultException(
                HubFailure.Unreachable,
                $"'{Printable.Address(address)}' answers {(int)response.StatusCode} ({response.ReasonPhrase}).",
                RetryAfter(response));
        }
    }

    /// <summary>The token is for the hub itself: not for the hosts that store its files, and not for anyone who listens on the way.</summary>
    private bool MayHaveToken(Uri address) => IsSameOrigin(address, _settings.Endpoint) && (address.Scheme == Uri.UriSchemeHttps || address.IsLoopback);

    private static Uri Redirected(Uri from, Uri location)
    {
        var to = location.IsAbsoluteUri ? location : new Uri(from, location);
        var isSafe = to.Scheme == Uri.UriSchemeHttps
            || (to.Scheme == Uri.UriSchemeHttp && (IsSameOrigin(from, to) || (from.IsLoopback && to.IsLoopback)));
        return isSafe
            ? to
            : throw new HubException(
                HubFailure.Refused,
                $"'{Printable.Address(from)}' leads to '{Printable.Text(Printable.Address(to))}', which is refused: expected an address with https. "
                    + "Check HF_ENDPOINT.");
    }

    private static bool IsSameOrigin(Uri one, Uri other) =>
        Uri.Compare(one, other, UriComponents.SchemeAndServer, UriFormat.UriEscaped, StringComparison.OrdinalIgnoreCase) == 0;

    private TimeSpan? RetryAfter(HttpResponseMessage response) => response.Headers.RetryAfter switch
    {
        { Delta: { } delay } => delay,
        { Date: { } moment } => TimeSpan.FromTicks(Math.Max(0, (moment - _time.GetUtcNow()).Ticks)),
        _ => null,
    };
}
