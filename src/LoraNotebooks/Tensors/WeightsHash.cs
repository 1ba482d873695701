using System.Security.Cryptography;
using System.Text;
using static TorchSharp.torch;

namespace LoraNotebooks.Tensors;

/// <summary>The hash of a network's weights as they are in memory.</summary>
internal static class WeightsHash
{
    /// <summary>SHA-256 over all weights in the order of their names: name, type, shape and values of each. How they are laid out does not count.</summary>
    /// <param name="network">The network; adapters beside it do not count, those merged into it do.</param>
    /// <returns>64 hexadecimal digits.</returns>
    public static string Of(nn.Module network)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        foreach (var (name, weight) in network.state_dict().OrderBy(static pair => pair.Key, StringComparer.Ordinal))
        {
            using var tensorScope = NewDisposeScope();
            hash.AppendData(Encoding.UTF8.GetBytes($"{name}\0{weight.dtype}\0{string.Join(',', weight.shape)}\0"));
            var plain = weight.detach().cpu().contiguous();
            if (plain.numel() > 0)
            {
                hash.AppendData(plain.bytes);
            }
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
