using System.Text.RegularExpressions;

namespace LoraNotebooks.Hub;

/// <summary>Where models come from and where they are kept.</summary>
public sealed partial record HubSettings
{
    /// <summary>The public hub.</summary>
    public static readonly Uri DefaultEndpoint = new("https://huggingface.co");

    /// <summary>The folder of the cache, shared with Python's huggingface_hub.</summary>
    public required string CacheFolder { get; init; }

    /// <summary>The server, default the public hub; another address is a mirror.</summary>
    public Uri Endpoint { get; init; } = DefaultEndpoint;

    /// <summary>
    /// The access token, default none: only public models. It is sent to <see cref="Endpoint"/> alone, and only by https or within this machine.
    /// </summary>
    public HubToken? Token { get; init; }

    /// <summary>Whether the network must not be used, default no.</summary>
    public bool Offline { get; init; }

    /// <summary>
    /// Whether a snapshot's files are symbolic links to the blobs, where the system allows them; default yes.
    /// Otherwise they are the files themselves.
    /// </summary>
    public bool Symlinks { get; init; } = true;

    /// <summary>
    /// The settings by the variables that huggingface_hub reads: HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HF_ENDPOINT, HF_TOKEN,
    /// HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH, HF_HUB_DISABLE_IMPLICIT_TOKEN, HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE, HF_HUB_DISABLE_SYMLINKS.
    /// Without them the cache is <c>~/.cache/huggingface/hub</c> and the token that of <c>~/.cache/huggingface/token</c>.
    /// </summary>
    /// <exception cref="FormatException">HF_ENDPOINT is no address.</exception>
    public static HubSettings FromEnvironment() =>
        FromEnvironment(Environment.GetEnvironmentVariable, Environment.GetFolderPath(Environment.SpecialFolder.UserProfile));

    /// <summary>See above, with the variables and the home folder in the caller's hands.</summary>
    internal static HubSettings FromEnvironment(Func<string, string?> variable, string userFolder)
    {
        var home = Folder("HF_HOME") ?? Path.Combine(Folder("XDG_CACHE_HOME") ?? Path.Combine(userFolder, ".cache"), "huggingface");
        return new HubSettings
        {
            CacheFolder = Path.GetFullPath(Folder("HF_HUB_CACHE") ?? Folder("HUGGINGFACE_HUB_CACHE") ?? Path.Combine(home, "hub")),
            Endpoint = Get("HF_ENDPOINT") is { } endpoint ? ReadEndpoint(endpoint) : DefaultEndpoint,
            Token = IsTrue(Get("HF_HUB_DISABLE_IMPLICIT_TOKEN"))
                ? null
                : HubToken.FromText(Get("HF_TOKEN"))
                    ?? HubToken.FromText(Get("HUGGING_FACE_HUB_TOKEN"))
                    ?? ReadToken(Folder("HF_TOKEN_PATH") ?? Path.Combine(home, "token")),
            Offline = IsTrue(Get("HF_HUB_OFFLINE") ?? Get("TRANSFORMERS_OFFLINE")),
            Symlinks = !IsTrue(Get("HF_HUB_DISABLE_SYMLINKS")),
        };

        string? Get(string name) => variable(name) is { Length: > 0 } value ? value : null;

        string? Folder(string name) => Get(name) is { } value ? Expand(value, Get, userFolder) : null;
    }

    /// <summary>A folder as a shell would read it: <c>~</c> is the home folder, <c>$NAME</c> and <c>${NAME}</c> are variables.</summary>
    internal static string Expand(string path, Func<string, string?> variable, string userFolder)
    {
        var atHome = path == "~" || path.StartsWith("~/", StringComparison.Ordinal) || path.StartsWith("~\\", StringComparison.Ordinal)
            ? userFolder + path[1..]
            : path;
        return VariableReference().Replace(atHome, match => variable(match.Groups["name"].Value) ?? match.Value);
    }

    private static Uri ReadEndpoint(string text) => Uri.TryCreate(text.TrimEnd('/'), UriKind.Absolute, out var address)
        && (address.Scheme == Uri.UriSchemeHttps || address.Scheme == Uri.UriSchemeHttp)
        ? address
        : throw new FormatException("HF_ENDPOINT is not the address of a server; expected one as in https://mirror.example. Correct or remove the variable.");

    private static HubToken? ReadToken(string path)
    {
        try
        {
            return File.Exists(path) ? HubToken.FromText(File.ReadAllText(path)) : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Another account's file: public models can still be had.
            return null;
        }
    }

    private static bool IsTrue(string? value) => value?.ToUpperInvariant() is "1" or "ON" or "YES" or "TRUE";

    [GeneratedRegex(@"\$(?:\{(?<name>\w+)\}|(?<name>\w+))")]
    private static partial Regex VariableReference();
}
