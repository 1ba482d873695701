using LoraNotebooks.Formats;
using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Models.Original;
using static TorchSharp.torch;

namespace LoraNotebooks.Diffusion;

/// <summary>Reads a whole model from one file under the names of the original code: configurations given or inferred, weights from the map.</summary>
internal sealed class SingleFile
{
    private const string PadOfOpenClip = "!";

    private readonly OriginalCheckpoint _checkpoint;
    private readonly SingleFileOptions _options;
    private readonly string _configFolder;

    private SingleFile(OriginalCheckpoint checkpoint, SingleFileOptions options)
    {
        (_checkpoint, _options) = (checkpoint, options);
        _configFolder = options.ConfigFolder ?? Path.GetDirectoryName(Path.GetFullPath(checkpoint.Path))!;
    }

    public static StableDiffusionPipeline Load(string path, SingleFileOptions options, ScalarType? dtype, Device? device)
    {
        WeightFiles.RefusePickled(path);
        using var file = SafetensorsFile.Open(path);
        RefuseLora(file);
        return new SingleFile(new OriginalCheckpoint(file), options).Load(dtype ?? ModelFolder.DefaultType(device), device);
    }

    /// <summary>The architectures, by the header and the configurations alone.</summary>
    public static PipelineOutline Outline(string path, SingleFileOptions options)
    {
        WeightFiles.RefusePickled(path);
        using var file = SafetensorsFile.Open(path);
        RefuseLora(file);
        var checkpoint = new OriginalCheckpoint(file);
        var single = new SingleFile(checkpoint, options);
        var texts = OriginalText.Find(checkpoint);
        return new PipelineOutline
        {
            Source = Path.GetFullPath(path),
            UNet = single.UNetConfiguration(),
            Vae = single.VaeConfiguration(texts.Count == 2),
            TextEncoders = [.. texts.Select(single.TextConfiguration)],
            Stored = StoredWeights.Of(file.Tensors.Values),
        };
    }

    private static void RefuseLora(SafetensorsFile file)
    {
        if (LoraFile.IsLora(file))
        {
            throw new InvalidDataException(
                $"'{file.Path}' is a LoRA for {LoraOrigin.Of(file.Tensors, file.Metadata).Text} and no model, expected a whole model. "
                + "Load the model that it is for, and then the LoRA on it by StableDiffusionLora.Load.");
        }
    }

    private StableDiffusionPipeline Load(ScalarType dtype, Device? device)
    {
        using var scope = NewDisposeScope(); // for what building leaves over
        var texts = OriginalText.Find(_checkpoint);
        var isXL = texts.Count == 2;
        var scheduler = Scheduler(isXL, texts[0].IsOfSd2);
        var tokenizers = Tokenizers(isXL);
        var networks = new List<nn.Module>();
        try
        {
            var fills = new List<Action>();
            var encoders = texts.Select((text, i) => Add(TextModel(text, i), text.Place, dtype)).ToList();
            var unetConfig = UNetConfiguration();
            var unetNames = new OriginalNames(OriginalUNet.Modules(unetConfig));
            var unet = Add(
                Layers.WithoutMemory(() => new UNet2DConditionModel(unetConfig)),
                parameter => new(OriginalCheckpoint.UNetPrefix + unetNames.Of(parameter)),
                dtype);
            var vaeConfig = VaeConfiguration(isXL);
            var vaeNames = new OriginalNames(OriginalVae.Modules(vaeConfig));
            var vae = Add(
                Layers.WithoutMemory(() => new AutoencoderKL(vaeConfig)),
                parameter => OriginalVae.Place(vaeNames, parameter),
                vaeConfig.TypeInMemory(dtype));
            _checkpoint.ThrowIfUnfit();
            fills.ForEach(static fill => fill());
            networks.ForEach(static network => network.eval());
            networks.ForEach(ModelFolder.Keep);
            var text = isXL
                ? new TextEncoders(tokenizers[0], encoders[0], tokenizers[1], encoders[1]) { ForceZerosForEmptyPrompt = true }
                : new TextEncoders(tokenizers[0], encoders[0]);
            Faults.ThrowIfAnyIn(_checkpoint.Path, StableDiffusionPipeline.Misfits(text, unet, vae, scheduler));
            return new StableDiffusionPipeline(text, unet, vae, scheduler);

            T Add<T>(T network, Func<string, OriginalTensor> place, ScalarType type)
                where T : nn.Module
            {
                networks.Add(network);
                var sources = _checkpoint.Sources(network, place);
                fills.Add(() => WeightLoading.Fill(network, sources, _checkpoint.Path, type, device));
                return network;
            }
        }
        catch
        {
            networks.ForEach(static network => network.Dispose());
            throw;
        }
    }

    private UNetConfig UNetConfiguration() =>
        Config("unet", UNetConfig.Load, () => OriginalUNet.Infer(_checkpoint), static config => config.Validate(), WeightCount.Of);

    private AutoencoderKLConfig VaeConfiguration(bool isXL) =>
        Config("vae", AutoencoderKLConfig.Load, () => OriginalVae.Infer(_checkpoint, isXL), static config => config.Validate(), WeightCount.Of);

    private ClipTextConfig TextConfiguration(OriginalText text, int number) =>
        Config(number == 0 ? "text_encoder" : "text_encoder_2", ClipTextConfig.Load, text.Infer, static config => config.Validate(), WeightCount.Of);

    private ClipTextModel TextModel(OriginalText text, int number)
    {
        var config = TextConfiguration(text, number);
        text.IgnoreLayersFrom(config);
        return Layers.WithoutMemory(() => new ClipTextModel(config));
    }

    private IReadOnlyList<ClipTokenizer> Tokenizers(bool isXL)
    {
        var folder = _options.TokenizerFolder ?? Path.Combine(_configFolder, "tokenizer");
        if (!Directory.Exists(folder))
        {
            throw new FileNotFoundException(
                $"'{_checkpoint.Path}' has no tokenizer in it, and there is none in '{folder}'. "
                + "Name the folder of CLIP's vocab.json and merges.txt as SingleFileOptions.TokenizerFolder: "
                + "the tokenizer folder of any Stable Diffusion model, or the files of openai/clip-vit-large-patch14.",
                folder);
        }

        var first = ClipTokenizer.FromFolder(folder);
        var second = Path.Combine(_configFolder, "tokenizer_2");

        // OpenCLIP has the same vocabulary and fills up with the token of id 0.
        return isXL ? [first, Directory.Exists(second) ? ClipTokenizer.FromFolder(second) : first.PaddedWith(PadOfOpenClip)] : [first];
    }

    private SchedulerConfig Scheduler(bool isXL, bool isSd2)
    {
        var path = PipelineFolder.SchedulerPath(_configFolder);
        if (File.Exists(path))
        {
            var given = SchedulerConfig.Load(path);
            return given with { PredictionType = _options.PredictionType ?? given.PredictionType };
        }

        if (isSd2 && _options.PredictionType is null)
        {
            throw new ArgumentException(
                $"'{_checkpoint.Path}' is Stable Diffusion 2.x, whose files do not tell what the network predicts. "
                + "Set SingleFileOptions.PredictionType: Epsilon for 2-base and 2.1-base (512 pixels), VPrediction for 2.0 and 2.1 (768 pixels).");
        }

        var scheduler = SchedulerConfig.StableDiffusion with
        {
            PredictionType = _options.PredictionType ?? (_checkpoint.IsMarkedVPrediction ? PredictionType.VPrediction : PredictionType.Epsilon),
        };
        scheduler = isXL ? scheduler with { ClassName = "EulerDiscreteScheduler" } : scheduler;
        return _checkpoint.IsMarkedZeroSnr ? scheduler with { RescaleBetasZeroSnr = true, TimestepSpacing = TimestepSpacing.Trailing } : scheduler;
    }

    /// <summary>The configuration of a network, given or by the shapes, of no more weights than the file can fill.</summary>
    private T Config<T>(string part, Func<string, T> load, Func<T> infer, Func<T, IReadOnlyList<string>> faults, Func<T, double> count)
    {
        var path = ConfigPath(part);
        var config = path is null ? infer() : load(path);
        if (path is null)
        {
            Faults.ThrowIfAnyIn($"{_checkpoint.Path}, {part} by its shapes", faults(config));
        }

        ModelFolder.RequireWeights(path ?? _checkpoint.Path, count(config), _checkpoint.Weights);
        return config;
    }

    private string? ConfigPath(string part) =>
        new[] { Path.Combine(_configFolder, part, ModelFolder.Config), Path.Combine(_configFolder, $"{part}_{ModelFolder.Config}") }
            .FirstOrDefault(File.Exists);
}
