using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using static TorchSharp.torch;

namespace LoraNotebooks.Tensors;

/// <summary>
/// Files about what this machine's kernels do, which hold for the same processor, system, libtorch, limit of instructions and threads alone. They spare
/// looking again; a file that cannot be read or written is done without.
/// </summary>
internal static class MachineFile
{
    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true, Converters = { new JsonStringEnumConverter() } };

    /// <summary>The file of a kind of finding.</summary>
    /// <param name="kind">The kind, also the beginning of the name.</param>
    /// <param name="version">Counts up where what is found is found another way.</param>
    public static string Of(string kind, int version)
    {
        var machine = string.Join(
            '\n',
            Processor.Current,
            string.Join(' ', Processor.Current.Instructions),
            Environment.OSVersion,
            __version__,
            NativeSettings.InstructionLimit,
            get_num_threads(),
            version);
        var hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(machine)))[..16];
        return Path.Combine(NativeRuntime.CacheFolder, "kernels", $"{kind}-{hash}.json");
    }

    /// <summary>What a file holds; <see langword="null"/> where there is none, or none that can be read.</summary>
    /// <param name="path">The file; <see langword="null"/> keeps nothing.</param>
    public static T? Read<T>(string? path)
        where T : class
    {
        try
        {
            return File.Exists(path) ? JsonSerializer.Deserialize<T>(File.ReadAllText(path), Json) : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    /// <summary>Writes a file, whole. Without a place for it, each process looks anew.</summary>
    /// <param name="path">The file; <see langword="null"/> keeps nothing.</param>
    /// <param name="content">What it holds.</param>
    public static void Write<T>(string? path, T content)
    {
        if (path is null)
        {
            return;
        }

        try
        {
            AtomicFile.WriteAllText(path, JsonSerializer.Serialize(content, Json));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
        }
    }
}
