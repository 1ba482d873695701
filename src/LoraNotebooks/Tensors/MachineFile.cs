using System.Security.Cryptography;
using System.Text;
using static TorchSharp.torch;

namespace LoraNotebooks.Tensors;

/// <summary>Files about what this machine's kernels do, which hold for the same processor, system, libtorch, limit of instructions and threads alone.</summary>
internal static class MachineFile
{
    /// <summary>The file of a kind of finding.</summary>
    /// <param name="kind">The kind, also the beginning of the name; none for the convolutions' verdicts.</param>
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
        return Path.Combine(NativeRuntime.CacheFolder, "kernels", $"{kind}{hash}.json");
    }
}
