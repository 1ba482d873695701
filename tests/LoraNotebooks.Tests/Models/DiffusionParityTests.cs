using LoraNotebooks.Models.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Models;

/// <summary>UNet and VAE against diffusers; names, shapes and limits come from the case's files.</summary>
[Trait("Category", "Parity")]
public sealed class DiffusionParityTests(ParityTable table) : IClassFixture<ParityTable>
{
    /// <summary>The limit that the fixtures suggest for the autoencoder; SDXL's case names none.</summary>
    private const double VaeLimit = 1e-4;

    public static TheoryData<string> Cases => [.. Fixtures.Models];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Forward_UNetOfUpstream_GivesUpstreamsPrediction(string name)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var unet = UNet2DConditionModel.FromFolder(Fixtures.Case(name, "unet"));
        var (inputs, expected, limit) = Read(name, "unet");
        var keys = Parts(expected, "unet.", ".sample");
        Assert.NotEmpty(keys);

        foreach (var key in keys)
        {
            var actual = unet.call(inputs[key + ".latents"], inputs[key + ".timesteps"], Told(inputs, key));
            Check(name, "UNet", key + ".sample", expected[key + ".sample"], actual, limit);
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Forward_UNetOfUpstream_GivesUpstreamsActivationsByModuleName(string name)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var unet = UNet2DConditionModel.FromFolder(Fixtures.Case(name, "unet"));
        var (inputs, expected, limit) = Read(name, "unet");
        var debug = expected.Keys.Where(key => key.Contains(".debug.", StringComparison.Ordinal)).ToList();
        var first = debug[0][..debug[0].IndexOf(".debug.", StringComparison.Ordinal)];
        var seen = Record(unet);
        unet.call(inputs[first + ".latents"], inputs[first + ".timesteps"], Told(inputs, first));

        var compared = 0;
        foreach (var key in debug)
        {
            var module = key[(first.Length + ".debug.".Length)..];
            if (seen.TryGetValue(module, out var actual))
            {
                // An inner activation is measured in parts of its largest value where that is above 1, as the outputs are.
                table.Check(
                    name,
                    "UNet's modules, relative",
                    Fixtures.MaxDifference(expected[key], actual) / Math.Max(1, expected[key].abs().max().item<float>()),
                    limit,
                    key);
                compared++;
            }
        }

        foreach (var tensor in seen.Values)
        {
            tensor.Dispose();
        }

        // time_proj is a function here, not a module.
        Assert.Equal(debug.Count(key => !key.EndsWith("time_proj", StringComparison.Ordinal)), compared);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void EncodeAndDecode_VaeOfUpstream_GiveUpstreamsMomentsAndImages(string name)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var vae = AutoencoderKL.FromFolder(Fixtures.Case(name, "vae"));
        var (inputs, expected, limit) = Read(name, "vae");
        var keys = Parts(expected, "vae.", ".mean");
        Assert.NotEmpty(keys);

        foreach (var key in keys)
        {
            var latents = vae.Encode(inputs[key + ".pixels"]);
            var sample = latents.Sample(inputs[key + ".sample_noise"]);
            Check(name, "VAE, latents", key + ".mean", expected[key + ".mean"], latents.Mean, limit);
            Check(name, "VAE, latents", key + ".logvar", expected[key + ".logvar"], latents.LogVariance, limit);
            Check(name, "VAE, latents", key + ".std", expected[key + ".std"], latents.StandardDeviation(), limit);
            Check(name, "VAE, latents", key + ".mode_scaled", expected[key + ".mode_scaled"], vae.ScaleLatents(latents.Mean), limit);
            Check(name, "VAE, latents", key + ".sample_scaled", expected[key + ".sample_scaled"], vae.ScaleLatents(sample), limit);
            Check(name, "VAE, images", key + ".reconstruction", expected[key + ".reconstruction"], vae.call(inputs[key + ".pixels"]), limit);
        }

        Check(name, "VAE, images", "vae.decode", expected["vae.decode"], vae.Decode(vae.UnscaleLatents(inputs["vae.latents"])), limit);
    }

    private static Conditioning Told(Dictionary<string, Tensor> inputs, string key) =>
        new(inputs[key + ".context"], inputs.GetValueOrDefault(key + ".text_embeds"), inputs.GetValueOrDefault(key + ".time_ids"));

    private static (Dictionary<string, Tensor> Inputs, Dictionary<string, Tensor> Expected, double Limit) Read(string name, string part)
    {
        Fixtures.Case(name);
        return (
            Fixtures.Tensors(name, "inputs.safetensors"),
            Fixtures.Tensors(name, "expected.safetensors"),
            Fixtures.Json(name, "case.json").GetProperty("tolerance").TryGetProperty(part, out var limit) ? limit.GetDouble() : VaeLimit);
    }

    private static List<string> Parts(Dictionary<string, Tensor> tensors, string prefix, string suffix) =>
        [.. tensors.Keys
            .Where(key =>
                key.StartsWith(prefix, StringComparison.Ordinal) && key.EndsWith(suffix, StringComparison.Ordinal)
                    && !key.Contains(".debug.", StringComparison.Ordinal))
            .Select(key => key[..^suffix.Length])
            .Order(StringComparer.Ordinal)];

    /// <summary>The last output of every module by its name; a level's output is its last layer's.</summary>
    private static Dictionary<string, Tensor> Record(UNet2DConditionModel unet)
    {
        var seen = new Dictionary<string, Tensor>();
        foreach (var (path, module) in unet.named_modules())
        {
            switch (module)
            {
                case nn.Module<Tensor, Tensor> m:
                    m.register_forward_hook((_, _, y) => Keep(path, y));
                    break;
                case nn.Module<Tensor, Tensor, Tensor> m:
                    m.register_forward_hook((_, _, _, y) => Keep(path, y));
                    break;
                case nn.Module<Tensor, Tensor, Tensor, Tensor> m:
                    m.register_forward_hook((_, _, _, _, y) => Keep(path, y));
                    break;
                case nn.Module<Tensor, Tensor, Tensor, Tensor[]> m:
                    m.register_forward_hook((_, _, _, _, y) =>
                    {
                        Keep(path, y[^1]);
                        return y;
                    });
                    break;
                case UNetUpBlock m:
                    m.register_forward_hook((_, _, _, _, _, y) => Keep(path, y));
                    break;
            }
        }

        return seen;

        Tensor Keep(string path, Tensor y)
        {
            seen[path] = y.clone().DetachFromDisposeScope();
            return y;
        }
    }

    private void Check(string name, string quantity, string key, Tensor expected, Tensor actual, double limit) =>
        table.Check(name, quantity, Fixtures.MaxDifference(expected, actual), limit, key);
}
