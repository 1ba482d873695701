using System.Net;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Hub;

/// <summary>A file as the hub lists it.</summary>
/// <param name="Name">Its path in the repository, with '/' between folders.</param>
/// <param name="Size">Its length in bytes; null where the server does not say.</param>
/// <param name="Sha256">Its SHA-256 where it is stored as a large file, in lower-case hexadecimal digits.</param>
/// <param name="GitBlob">Its git blob hash where git stores the content itself.</param>
internal sealed record ListedFile(string Name, long? Size, string? Sha256, string? GitBlob);

/// <summary>A repository's files at one commit.</summary>
internal sealed record RepositoryListing(string Commit, IReadOnlyList<ListedFile> Files);

/// <summary>A file as it will be fetched.</summary>
/// <param name="Name">Its path in the repository.</param>
/// <param name="Address">Where it is.</param>
/// <param name="Etag">The name of its blob in the cache.</param>
/// <param name="Size">Its length in bytes.</param>
/// <param name="Checksum">What its content must give.</param>
internal sealed record RemoteFile(string Name, Uri Address, string Etag, long Size, BlobChecksum Checksum);

/// <summary>What the hub says about a model: its files, and each file's length and name in the cache.</summary>
internal sealed partial class RepositoryApi(HubHttp http, HubSettings settings, HubId id, Func<TimeSpan, CancellationToken, Task> wait)
{
    private const int LongestListing = 64 << 20;

    /// <summary>Lists the files at the model's revision.</summary>
    public Task<RepositoryListing> ListAsync(CancellationToken cancellation) => Attempts.RunAsync(
        wait,
        async () =>
        {
            using var response = await http.SendAsync(
                HttpMethod.Get,
                Address($"api/models/{id.Name}/revision/{Uri.EscapeDataString(id.Revision)}?blobs=true"),
                cancellation: cancellation).ConfigureAwait(false);
            ThrowIfRefused(response, file: null);
            return Read(await ReadTextAsync(response, cancellation).ConfigureAwait(false));
        },
        cancellation);

    /// <summary>Asks for a file's length and its name in the cache.</summary>
    public Task<RemoteFile> DescribeAsync(ListedFile file, string commit, CancellationToken cancellation) => Attempts.RunAsync(
        wait,
        async () =>
        {
            var address = Address($"{id.Name}/resolve/{commit}/{string.Join('/', file.Name.Split('/').Select(Uri.EscapeDataString))}");
            using var response = await http.SendAsync(HttpMethod.Head, address, follow: LeadsToTheFile, cancellation: cancellation).ConfigureAwait(false);
            if (!HubHttp.IsRedirect(response))
            {
                ThrowIfRefused(response, file.Name);
            }

            return Describe(file, commit, address, response);
        },
        cancellation);

    /// <summary>Says what an answer without success means.</summary>
    /// <exception cref="HubException">The answer is no success.</exception>
    public void ThrowIfRefused(HttpResponseMessage response, string? file)
    {
        if (response.IsSuccessStatusCode)
        {
            return;
        }

        var page = $"{Printable.Address(settings.Endpoint).TrimEnd('/')}/{id.Name}";
        var code = Header(response, "X-Error-Code");
        var account = settings.Token is null ? "no access token is set" : "the access token in use may not read it";
        throw (response.StatusCode, code) switch
        {
            (_, "GatedRepo") => new HubException(
                HubFailure.Denied,
                $"The model {id.Name} is gated, and {account}. Open {page} in a browser, accept its terms, "
                    + $"make a token that may read at {Printable.Address(settings.Endpoint).TrimEnd('/')}/settings/tokens, and set it as HF_TOKEN."),
            (_, "RevisionNotFound") => new HubException(
                HubFailure.NotFound,
                $"The model {id.Name} has no revision '{id.Revision}'; expected a branch, a tag or a commit. See {page}/tree/{HubId.DefaultRevision}."),
            (_, "EntryNotFound") => new HubException(
                HubFailure.NotFound,
                $"The model {id} has no file '{Printable.Text(file ?? "")}'. See {page}/tree/{HubId.DefaultRevision}."),
            (HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden, _) => new HubException(
                HubFailure.Denied,
                $"The model {id} cannot be read{Said(response)}: it does not exist, or it is private or gated and {account}. Check the name; for a "
                    + $"private or gated model open {page} in a browser, accept its terms if it has any, and set a token that may read it as HF_TOKEN."),
            (HttpStatusCode.NotFound, _) => new HubException(
                HubFailure.NotFound,
                file is null
                    ? $"There is no model {id} on {settings.Endpoint.Host}. Check the name and the revision; "
                        + $"a private model needs a token in HF_TOKEN ({account})."
                    : $"The model {id} has no file '{Printable.Text(file)}' on {settings.Endpoint.Host}. See {page}/tree/{HubId.DefaultRevision}."),
            _ => new HubException(
                HubFailure.Unreachable,
                $"{settings.Endpoint.Host} answers {(int)response.StatusCode} ({response.ReasonPhrase}) for {id}{Said(response)}. "
                    + "Check HF_ENDPOINT, and try again later."),
        };
    }

    /// <summary>The first value of a header.</summary>
    public static string? Header(HttpResponseMessage response, string name) =>
        (response.Headers.TryGetValues(name, out var values) || response.Content.Headers.TryGetValues(name, out values)) ? values.FirstOrDefault() : null;

    /// <summary>Within the hub a file can have moved; where it is stored elsewhere, the hub's own answer says what it is.</summary>
    private static bool LeadsToTheFile(HttpResponseMessage redirect) =>
        !redirect.Headers.Location!.IsAbsoluteUri || (Header(redirect, "X-Linked-Etag") is null && Header(redirect, "ETag") is null);

    private Uri Address(string path) => new($"{settings.Endpoint.AbsoluteUri.TrimEnd('/')}/{path}");

    private static string Said(HttpResponseMessage response) =>
        Header(response, "X-Error-Message") is { } message ? $" (it says: {Printable.Text(message)})" : "";

    private async Task<string> ReadTextAsync(HttpResponseMessage response, CancellationToken cancellation)
    {
        using var silence = http.Await(cancellation);
        try
        {
            await response.Content.LoadIntoBufferAsync(LongestListing, silence.Token).ConfigureAwait(false);
            return await response.Content.ReadAsStringAsync(silence.Token).ConfigureAwait(false);
        }
        catch (Exception error)
            when (error is HttpRequestException or IOException || (error is OperationCanceledException && !cancellation.IsCancellationRequested))
        {
            throw new TransientFaultException(HubFailure.Unreachable, $"The list of files of {id} did not arrive whole: {error.Message}", inner: error);
        }
    }

    private RepositoryListing Read(string json)
    {
        try
        {
            var root = PythonJson.ParseObject(json, $"the list of files of {id}");
            var commit = Text(root["sha"]);
            if (commit is null || !HubId.IsCommit(commit) || root["siblings"] is not JsonArray siblings)
            {
                throw new InvalidDataException($"the list of files of {id} has no commit or no files.");
            }

            return new RepositoryListing(
                commit,
                [
                    .. from entry in siblings.OfType<JsonObject>()
                       let name = Text(entry["rfilename"])
                       where name is { Length: > 0 }
                       let large = entry["lfs"] as JsonObject
                       select new ListedFile(
                           name,
                           Number(large?["size"]) ?? Number(entry["size"]),
                           Text(large?["sha256"]),
                           large is null ? Text(entry["blobId"]) : null),
                ]);
        }
        catch (InvalidDataException error)
        {
            throw new HubException(HubFailure.Damaged, $"{settings.Endpoint.Host} does not answer like a hub: {error.Message} Check HF_ENDPOINT.", error);
        }
    }

    private RemoteFile Describe(ListedFile file, string commit, Uri address, HttpResponseMessage response)
    {
        if (Header(response, "X-Repo-Commit") is { } served && served != commit)
        {
            throw new HubException(
                HubFailure.Damaged,
                $"'{Printable.Text(file.Name)}' comes from commit {Printable.Text(served)}; expected {commit}. Check HF_ENDPOINT, and try again.");
        }

        // In front of the quotes a weak tag has W/.
        var etag = (Header(response, "X-Linked-Etag") ?? Header(response, "ETag"))?.Trim();
        etag = (etag?.StartsWith("W/", StringComparison.Ordinal) == true ? etag[2..] : etag)?.Trim('"');
        if (etag is null || !SafeEtag().IsMatch(etag))
        {
            throw new HubException(
                HubFailure.Refused,
                $"'{Printable.Text(file.Name)}' comes with the ETag '{Printable.Text(etag ?? "")}'; "
                    + "expected a checksum, which names the file in the cache. Check HF_ENDPOINT.");
        }

        var size = long.TryParse(Header(response, "X-Linked-Size"), out var linked) ? linked
            : HubHttp.IsRedirect(response) ? file.Size
            : response.Content.Headers.ContentLength ?? file.Size;
        return size is >= 0 and { } bytes
            ? new RemoteFile(file.Name, address, etag, bytes, BlobChecksum.Of(etag, file, bytes))
            : throw new HubException(
                HubFailure.Damaged,
                $"The server does not say how long '{Printable.Text(file.Name)}' is; expected X-Linked-Size or Content-Length. Check HF_ENDPOINT.");
    }

    private static string? Text(JsonNode? node) => node is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;

    private static long? Number(JsonNode? node) => node is JsonValue value && value.TryGetValue<long>(out var number) && number >= 0 ? number : null;

    [GeneratedRegex(@"\A[0-9A-Za-z_-][0-9A-Za-z._-]{0,127}\z")]
    private static partial Regex SafeEtag();
}
