using LoraNotebooks.Models.Diffusion;

namespace LoraNotebooks.Tests.Models;

/// <summary>The smallest networks that still have every kind of layer.</summary>
internal static class TinyModels
{
    public static UNetConfig UNet => new()
    {
        BlockOutChannels = [8, 12],
        DownBlockTypes = ["CrossAttnDownBlock2D", "DownBlock2D"],
        UpBlockTypes = ["UpBlock2D", "CrossAttnUpBlock2D"],
        LayersPerBlock = 1,
        NormNumGroups = 4,
        CrossAttentionDim = 6,
        AttentionHeadDim = 2,
    };

    public static AutoencoderKLConfig Vae => new()
    {
        BlockOutChannels = [8, 12],
        DownBlockTypes = ["DownEncoderBlock2D", "DownEncoderBlock2D"],
        UpBlockTypes = ["UpDecoderBlock2D", "UpDecoderBlock2D"],
        NormNumGroups = 4,
        LatentChannels = 3,
    };
}

/// <summary>A folder that is deleted with the test.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("lora-notebooks-test-").FullName;

    public string In(params string[] parts) => System.IO.Path.Combine([Path, .. parts]);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
