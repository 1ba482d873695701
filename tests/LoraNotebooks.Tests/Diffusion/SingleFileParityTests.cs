using System.Text.RegularExpressions;
using LoraNotebooks.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>Original single-file checkpoints against diffusers. The cases are not shipped, see <see cref="Fixtures.Models"/>.</summary>
[Trait("Category", "Parity")]
public sealed partial class SingleFileParityTests(ParityTable table) : IClassFixture<ParityTable>
{
    [Fact]
    public void FromFile_EveryCase_ComputesAsUpstream()
    {
        string[] cases = [.. Directory.GetDirectories(Fixtures.Root).Where(folder => File.Exists(Path.Combine(folder, "unet_config.json"))).Select(folder => Path.GetFileName(folder)!)];
        Assert.True(cases.Length > 0 || !Fixtures.IsWhole, "no single-file case");
        foreach (var name in cases)
        {
            using var scope = NewDisposeScope();
            using var noGradient = no_grad();
            var settings = Fixtures.Json(name, "case.json");
            var (what, limit) = (settings.GetProperty("what").GetString()!, settings.GetProperty("tolerance").GetDouble());

            // The case names the model whose inputs it shares, and which of them.
            var origin = Origin().Match(what).Groups[1].Value;
            var (inputs, expected) = (Fixtures.Tensors(origin, "inputs.safetensors"), Fixtures.Tensors(name, "expected.safetensors"));
            var unet = UNetInputs().Match(what).Groups[1].Value;
            var file = Directory.GetFiles(Fixtures.Case(name), "*.safetensors").Single(path => Path.GetFileName(path) != "expected.safetensors");
            using var pipeline = StableDiffusionPipeline.FromFile(file, new() { TokenizerFolder = Path.Combine(Fixtures.Case(origin), "tokenizer") });

            Check("text.last_hidden_state", pipeline.TextEncoder.call(inputs["text.input_ids"]));
            Check("unet.sample", pipeline.UNet.call(inputs[unet + ".latents"], inputs[unet + ".timesteps"], inputs[unet + ".context"]));
            Check("vae.decode", pipeline.Decode(inputs["vae.latents"]));
            Check("vae.image0.mean", pipeline.Vae.Encode(inputs["vae.image0.pixels"]).Mean);
            Assert.Equal(4, expected.Count);

            void Check(string key, Tensor actual) => table.Check(name, key, Fixtures.MaxDifference(expected[key], actual), limit);
        }
    }

    [GeneratedRegex(@"\.\./([^/\s]+)/inputs\.safetensors")]
    private static partial Regex Origin();

    [GeneratedRegex(@"(unet\.[^\s*]+)\.\*")]
    private static partial Regex UNetInputs();
}
